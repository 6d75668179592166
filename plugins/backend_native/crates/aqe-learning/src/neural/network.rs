//! A perceptron with tanh after each layer but the last.

use super::kernels::{sums, tanh, times_slope_of_tanh};
use super::products::{LANES, gradient, product};

/// The shape of a perceptron. Its parameters lie in one vector: of each layer the weights, row by row from the inputs,
/// then the biases.
#[derive(Clone, Debug)]
pub struct Network {
    sizes: Vec<usize>,
}

/// What a pass through a network leaves: the activations of each layer, feature by feature, and room.
#[derive(Default)]
pub struct Work {
    layers: Vec<Vec<f32>>, // inputs, hidden ones, outputs
    slopes: [Vec<f32>; 2],
    panel: Vec<f32>,
    zeros: Vec<f32>,
    n: usize,
}

impl Work {
    /// The outputs of the last pass, and the number of samples per feature.
    pub fn outputs(&mut self) -> (&mut Vec<f32>, usize) {
        let last = self.layers.len() - 1;
        (&mut self.layers[last], self.n)
    }
}

impl Network {
    /// Layers of these widths: input, hidden ones, output.
    pub fn new(sizes: Vec<usize>) -> Self {
        Self { sizes }
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.sizes
            .windows(2)
            .map(|pair| (pair[0] + 1) * pair[1])
            .sum()
    }

    /// Whether it has no layer.
    pub fn is_empty(&self) -> bool {
        self.sizes.len() < 2
    }

    /// Length of an input.
    pub fn inputs(&self) -> usize {
        self.sizes[0]
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// Make room for samples and return where their features go, feature by feature; what is beyond them is 0.
    pub fn begin<'a>(&self, samples: usize, work: &'a mut Work) -> (&'a mut [f32], usize) {
        work.n = samples.next_multiple_of(LANES);
        work.layers.resize(self.sizes.len(), Vec::new());
        for (layer, &size) in work.layers.iter_mut().zip(&self.sizes) {
            layer.resize(size * work.n, 0.0);
        }
        work.layers[0].fill(0.0);
        (&mut work.layers[0], work.n)
    }

    /// Compute the outputs of what was put where `begin` said.
    pub fn forward(&self, parameters: &[f32], work: &mut Work) {
        let mut rest = parameters;
        for (layer, pair) in self.sizes.windows(2).enumerate() {
            let (weights, after) = rest.split_at(pair[0] * pair[1]);
            let (biases, after) = after.split_at(pair[1]);
            rest = after;
            let (before, there) = work.layers.split_at_mut(layer + 1);
            let (inputs, out) = (&before[layer], &mut there[0]);
            product(
                weights,
                [pair[1], 1],
                pair[0],
                inputs,
                biases,
                out,
                &mut work.panel,
            );
            if layer + 2 < self.sizes.len() {
                tanh(out);
            }
        }
    }

    /// Fill the gradient, given that of the loss by the outputs: 0 beyond the samples. After `forward`.
    pub fn backward(
        &self,
        parameters: &[f32],
        slope: &[f32],
        gradients: &mut [f32],
        work: &mut Work,
    ) {
        let n = work.n;
        let [mut here, mut next] = std::mem::take(&mut work.slopes);
        here.clear();
        here.extend_from_slice(slope);
        let mut end = self.len();
        for layer in (0..self.sizes.len() - 1).rev() {
            let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
            let start = end - (inputs + 1) * outputs;
            let (to_weights, to_biases) = gradients[start..end].split_at_mut(inputs * outputs);
            gradient(&work.layers[layer], &here, n, to_weights);
            sums(&here, n, to_biases);
            if layer > 0 {
                let weights = &parameters[start..start + inputs * outputs];
                work.zeros.resize(work.zeros.len().max(inputs), 0.0);
                next.resize(inputs * n, 0.0);
                let zeros = &work.zeros[..inputs];
                product(
                    weights,
                    [1, outputs],
                    outputs,
                    &here,
                    zeros,
                    &mut next,
                    &mut work.panel,
                );
                times_slope_of_tanh(&mut next, &work.layers[layer]);
                std::mem::swap(&mut here, &mut next);
            }
            end = start;
        }
        work.slopes = [here, next];
    }
}
