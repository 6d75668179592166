//! The loss of a policy over a batch, and its descent by minibatches.

use super::heads::{Actions, Head, bar};
use super::kernels::{adam, exp, squares};
use super::network::{Network, Work};

const LARGEST_LOG_RATIO: f32 = 20.0;
const LOG_STD: [f32; 2] = [-5.0, 2.0];
const EPSILON: f32 = 1e-5;

/// How to descend.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rows of a minibatch; the last may have fewer.
    pub minibatch: usize,
    /// How far a ratio of probabilities may go before it is cut.
    pub clip_range: f32,
    /// Of the entropy in the loss.
    pub entropy: f32,
    /// Of the squared error of values in the loss.
    pub value: f32,
    /// Longest gradient.
    pub max_norm: f32,
    /// Length of steps.
    pub rate: f64,
}

/// What is learned from, row by row.
pub struct Batch<'a> {
    /// Observations, normalized.
    pub rows: &'a [f32],
    /// What was done.
    pub actions: Actions<'a>,
    /// Advantages.
    pub weights: &'a [f32],
    /// Targets of the values.
    pub targets: &'a [f32],
    /// Allowed actions, if some are not.
    pub masks: Option<&'a [bool]>,
}

/// Parameters (actor, critic, log-deviations), running means of their gradient and of its square, and steps taken.
pub struct Optimizer<'a> {
    /// All parameters.
    pub parameters: &'a mut [f32],
    /// Mean of the gradient.
    pub first: &'a mut [f32],
    /// Mean of its square.
    pub second: &'a mut [f32],
    /// Steps taken.
    pub count: u64,
}

/// Actor and critic, and room to work in.
pub struct Descent {
    /// From observations to logits or means.
    pub actor: Network,
    /// From observations to values.
    pub critic: Network,
    head: Head,
    work: [Work; 2],
    gradient: Vec<f32>,
    old: Vec<f32>,
    slope: Vec<f32>,
}

/// A minibatch, gathered.
#[derive(Default)]
struct Part {
    places: Vec<usize>,
    numbers: Vec<i64>,
    vectors: Vec<f32>,
    masks: Vec<bool>,
}

impl Part {
    fn gather(&mut self, batch: &Batch<'_>, places: &[i64], width: usize) {
        self.places.clear();
        self.places
            .extend(places.iter().map(|&place| place as usize));
        self.masks.clear();
        match batch.actions {
            Actions::Numbers(numbers) => {
                self.numbers.clear();
                self.numbers
                    .extend(self.places.iter().map(|&place| numbers[place]));
            }
            Actions::Vectors(vectors) => {
                self.vectors.clear();
                for &place in &self.places {
                    self.vectors
                        .extend_from_slice(&vectors[place * width..][..width]);
                }
            }
        }
        if let Some(masks) = batch.masks {
            for &place in &self.places {
                self.masks
                    .extend_from_slice(&masks[place * width..][..width]);
            }
        }
    }

    fn actions(&self, head: Head) -> Actions<'_> {
        match head {
            Head::Categorical => Actions::Numbers(&self.numbers),
            Head::Gaussian => Actions::Vectors(&self.vectors),
        }
    }
}

impl Descent {
    /// Two networks over the same inputs; the critic has one output.
    pub fn new(actor: Network, critic: Network, head: Head) -> Self {
        Self {
            actor,
            critic,
            head,
            work: Default::default(),
            gradient: Vec::new(),
            old: Vec::new(),
            slope: Vec::new(),
        }
    }

    /// Number of all parameters.
    pub fn parameters(&self) -> usize {
        let spread = match self.head {
            Head::Categorical => 0,
            Head::Gaussian => self.actor.outputs(),
        };
        self.actor.len() + self.critic.len() + spread
    }

    /// The actor's outputs for observations row by row, feature by feature, and samples per feature.
    pub fn outputs(
        &mut self,
        parameters: &[f32],
        rows: &[f32],
        masks: Option<&[bool]>,
    ) -> (&[f32], usize) {
        let work = &mut self.work[0];
        pass(&self.actor, parameters, rows, work);
        let width = self.actor.outputs();
        let (outputs, n) = work.outputs();
        if let Some(masks) = masks {
            bar(outputs, n, width, masks);
        }
        (outputs, n)
    }

    /// The values of observations row by row.
    pub fn values(&mut self, parameters: &[f32], rows: &[f32]) -> &[f32] {
        pass(
            &self.critic,
            &parameters[self.actor.len()..],
            rows,
            &mut self.work[1],
        );
        &self.work[1].outputs().0[..rows.len() / self.critic.inputs()]
    }

    /// Descend once per order, a permutation of the rows; return entropy, divergence and value loss of the last.
    pub fn descend(
        &mut self,
        optimizer: &mut Optimizer<'_>,
        batch: &Batch<'_>,
        orders: &[i64],
        options: &Options,
    ) -> [f64; 3] {
        let samples = batch.weights.len();
        self.gradient.clear();
        self.gradient.resize(self.parameters(), 0.0);
        let mut old = std::mem::take(&mut self.old);
        old.clear();
        old.resize(samples, 0.0);
        let head = self.head;
        let networks = self.actor.len() + self.critic.len();
        // In slices that stay in the cache.
        let width = self.actor.outputs();
        let mut part = Part::default();
        let every: Vec<i64> = (0..samples as i64).collect();
        for places in every.chunks(options.minibatch) {
            part.gather(batch, places, width);
            let start = places[0] as usize;
            let rows =
                &batch.rows[start * self.actor.inputs()..][..places.len() * self.actor.inputs()];
            let masks = batch.masks.map(|_| part.masks.as_slice());
            let logs = &mut old[start..start + places.len()];
            let spread = optimizer.parameters[networks..].to_vec();
            let (outputs, n) = self.outputs(optimizer.parameters, rows, masks);
            head.logs(outputs, n, &spread, &part.actions(head), logs);
        }
        let mut sums = [0.0; 3];
        for order in orders.chunks_exact(samples) {
            sums = [0.0; 3];
            for places in order.chunks(options.minibatch) {
                part.gather(batch, places, width);
                let found = self.slopes(optimizer.parameters, batch, &part, &old, options);
                for (sum, found) in sums.iter_mut().zip(found) {
                    *sum += found * places.len() as f64 / samples as f64;
                }
                self.step(optimizer, options);
            }
        }
        self.old = old;
        sums
    }

    /// Fill the gradient with that of the loss over a minibatch; return entropy, divergence and value loss.
    fn slopes(
        &mut self,
        parameters: &[f32],
        batch: &Batch<'_>,
        part: &Part,
        old: &[f32],
        options: &Options,
    ) -> [f64; 3] {
        let (samples, each) = (part.places.len(), 1.0 / part.places.len() as f32);
        let (acting, rest) = parameters.split_at(self.actor.len());
        let (judging, spread) = rest.split_at(self.critic.len());
        let (to_actor, to_rest) = self.gradient.split_at_mut(acting.len());
        let (to_critic, to_spread) = to_rest.split_at_mut(judging.len());
        let [work, judge] = &mut self.work;

        let (inputs, n) = self.actor.begin(samples, work);
        gather(batch.rows, &part.places, inputs, n);
        self.actor.forward(acting, work);
        let (outputs, n) = work.outputs();
        if batch.masks.is_some() {
            bar(outputs, n, self.actor.outputs(), &part.masks);
        }
        let mut divergence = 0.0;
        let mut weigh = |place: usize, log: f32| {
            let (place, weight) = (part.places[place], batch.weights[part.places[place]]);
            let shift = (log - old[place]).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO);
            let ratio = exp(shift);
            divergence += f64::from(ratio - 1.0 - shift);
            let cut = if weight > 0.0 {
                ratio > 1.0 + options.clip_range
            } else {
                ratio < 1.0 - options.clip_range
            };
            if cut { 0.0 } else { -each * (ratio * weight) }
        };
        self.slope.clear();
        self.slope.extend_from_slice(outputs);
        let spreads = (spread, to_spread);
        let actions = part.actions(self.head);
        let entropy = self.head.slopes(
            (&mut self.slope, n),
            spreads,
            &actions,
            &mut weigh,
            options.entropy,
        );
        self.actor.backward(acting, &self.slope, to_actor, work);

        let (inputs, n) = self.critic.begin(samples, judge);
        gather(batch.rows, &part.places, inputs, n);
        self.critic.forward(judging, judge);
        self.slope.clear();
        self.slope.resize(n, 0.0);
        let mut loss = 0.0;
        let values = judge.outputs().0.iter();
        for ((slope, value), &place) in self.slope.iter_mut().zip(values).zip(&part.places) {
            let error = value - batch.targets[place];
            *slope = error * (options.value * each);
            loss += f64::from(error) * f64::from(error);
        }
        self.critic.backward(judging, &self.slope, to_critic, judge);
        [entropy, divergence / samples as f64, loss / samples as f64]
    }

    fn step(&self, optimizer: &mut Optimizer<'_>, options: &Options) {
        let norm = squares(&self.gradient).sqrt();
        let scale = if norm > options.max_norm {
            options.max_norm / norm
        } else {
            1.0
        };
        optimizer.count += 1;
        let lacks = |decay: f64| 1.0 - decay.powf(optimizer.count as f64);
        let corrections = [
            lacks(0.999).sqrt() as f32,
            EPSILON,
            (options.rate / lacks(0.9)) as f32,
        ];
        let Optimizer {
            parameters,
            first,
            second,
            ..
        } = optimizer;
        adam(
            parameters,
            first,
            second,
            &self.gradient,
            scale,
            corrections,
        );
        for spread in &mut parameters[self.actor.len() + self.critic.len()..] {
            *spread = spread.clamp(LOG_STD[0], LOG_STD[1]);
        }
    }
}

/// Put observations, row by row, through a network.
fn pass(network: &Network, parameters: &[f32], rows: &[f32], work: &mut Work) {
    let dim = network.inputs();
    let (inputs, n) = network.begin(rows.len() / dim, work);
    for (sample, row) in rows.chunks_exact(dim).enumerate() {
        for (feature, &value) in row.iter().enumerate() {
            inputs[feature * n + sample] = value;
        }
    }
    network.forward(parameters, work);
}

/// Put chosen observations where a network takes them.
fn gather(rows: &[f32], places: &[usize], inputs: &mut [f32], n: usize) {
    let dim = inputs.len() / n;
    for (sample, &place) in places.iter().enumerate() {
        for (feature, &value) in rows[place * dim..][..dim].iter().enumerate() {
            inputs[feature * n + sample] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    fn options(entropy: f32) -> Options {
        Options {
            minibatch: 40,
            clip_range: 10.0,
            entropy,
            value: 0.5,
            max_norm: 1e6,
            rate: 0.01,
        }
    }

    /// The loss where nothing is cut, from its definition.
    fn loss(
        descent: &mut Descent,
        parameters: &[f32],
        batch: &Batch<'_>,
        old: &[f32],
        entropy: f32,
    ) -> f64 {
        let samples = batch.weights.len();
        let networks = descent.actor.len() + descent.critic.len();
        let (head, spread) = (descent.head, parameters[networks..].to_vec());
        let values = descent.values(parameters, batch.rows).to_vec();
        let (outputs, n) = descent.outputs(parameters, batch.rows, batch.masks);
        let mut logs = vec![0.0; samples];
        head.logs(outputs, n, &spread, &batch.actions, &mut logs);
        let (mut outputs, mut ignored) = (outputs.to_vec(), vec![0.0; spread.len()]);
        let mean = head.slopes(
            (&mut outputs, n),
            (&spread, &mut ignored),
            &batch.actions,
            &mut |_, _| 0.0,
            0.0,
        );
        let mut total = -f64::from(entropy) * mean;
        for i in 0..samples {
            let error = f64::from(values[i] - batch.targets[i]);
            let ratio = f64::from(logs[i] - old[i]).exp();
            total += (0.25 * error * error - ratio * f64::from(batch.weights[i])) / samples as f64;
        }
        total
    }

    fn check(head: Head, actions: Actions<'_>, masks: Option<&[bool]>) {
        let mut descent = Descent::new(
            Network::new(vec![3, 5, 2]),
            Network::new(vec![3, 5, 1]),
            head,
        );
        let mut parameters = numbers(descent.parameters(), 1);
        let (rows, weights, targets) = (numbers(120, 2), numbers(40, 3), numbers(40, 4));
        let batch = Batch {
            rows: &rows,
            actions,
            weights: &weights,
            targets: &targets,
            masks,
        };
        let networks = descent.actor.len() + descent.critic.len();
        let spread = parameters[networks..].to_vec();
        let mut old = vec![0.0; 40];
        let (outputs, n) = descent.outputs(&parameters, &rows, masks);
        head.logs(outputs, n, &spread, &actions, &mut old);
        let mut part = Part::default();
        part.gather(&batch, &(0..40).collect::<Vec<i64>>(), 2);
        descent.gradient.resize(parameters.len(), 0.0);
        descent.slopes(&parameters, &batch, &part, &old, &options(0.3));
        let slopes = descent.gradient.clone();
        for (i, slope) in slopes.into_iter().enumerate() {
            let mut at = |change: f32| {
                let kept = std::mem::replace(&mut parameters[i], 0.0);
                parameters[i] = kept + change;
                let found = loss(&mut descent, &parameters, &batch, &old, 0.3);
                parameters[i] = kept;
                found
            };
            let wanted = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (f64::from(slope) - wanted).abs() < 2e-4,
                "{i}: {slope} {wanted}"
            );
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let chosen: Vec<i64> = (0..40).map(|i| i % 2).collect();
        check(Head::Categorical, Actions::Numbers(&chosen), None);
        check(Head::Gaussian, Actions::Vectors(&numbers(80, 9)), None);
        let masks: Vec<bool> = (0..80).map(|i| i % 2 == 0 || i % 6 == 1).collect();
        check(Head::Categorical, Actions::Numbers(&[0; 40]), Some(&masks));
    }

    #[test]
    fn descending_lowers_the_loss_of_values() {
        let head = Head::Categorical;
        let mut descent = Descent::new(
            Network::new(vec![3, 8, 2]),
            Network::new(vec![3, 8, 1]),
            head,
        );
        let n = descent.parameters();
        let (mut parameters, mut first, mut second) = (numbers(n, 1), vec![0.0; n], vec![0.0; n]);
        let (rows, weights, targets) = (numbers(300, 2), numbers(100, 3), numbers(100, 4));
        let batch = Batch {
            rows: &rows,
            actions: Actions::Numbers(&[1; 100]),
            weights: &weights,
            targets: &targets,
            masks: None,
        };
        let mut optimizer = Optimizer {
            parameters: &mut parameters,
            first: &mut first,
            second: &mut second,
            count: 0,
        };
        let order: Vec<i64> = (0..100).rev().collect();
        let [_, _, before] = descent.descend(&mut optimizer, &batch, &order, &options(0.0));
        let [entropy, divergence, after] =
            descent.descend(&mut optimizer, &batch, &order.repeat(30), &options(0.0));
        assert!(after < 0.7 * before && divergence >= 0.0 && entropy > 0.0);
        assert_eq!(optimizer.count, 3 + 90);
    }
}
