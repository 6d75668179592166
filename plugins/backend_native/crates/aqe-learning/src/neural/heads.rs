//! Distributions over actions: discrete ones with masks, and vectors with independent normal components.

/// A logit whose probability is exactly zero, yet finite.
const BARRED: f32 = -1e9;
const HALF_LOG_TWO_PI: f32 = 0.918_938_5;

/// What outputs are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head {
    /// Logits of discrete actions.
    Categorical,
    /// Means of a vector's components, whose log-deviations are parameters of their own.
    Gaussian,
}

/// Actions of several samples.
#[derive(Clone, Copy)]
pub enum Actions<'a> {
    /// A number each.
    Numbers(&'a [i64]),
    /// A vector each, row by row.
    Vectors(&'a [f32]),
}

/// What a sample's loss asks for: the gradient by its log-probability.
pub trait Weigh {
    /// Of the sample at this place with this log-probability.
    fn weigh(&mut self, place: usize, log_probability: f32) -> f32;
}

impl<F: FnMut(usize, f32) -> f32> Weigh for F {
    fn weigh(&mut self, place: usize, log_probability: f32) -> f32 {
        self(place, log_probability)
    }
}

/// Make masked actions impossible; masks row by row.
pub fn bar(outputs: &mut [f32], n: usize, width: usize, masks: &[bool]) {
    for (sample, mask) in masks.chunks_exact(width).enumerate() {
        for (action, &allowed) in mask.iter().enumerate() {
            if !allowed {
                outputs[action * n + sample] = BARRED;
            }
        }
    }
}

impl Head {
    /// The log-probability (density) of each action; `spread` are log-deviations.
    pub fn logs(
        self,
        outputs: &[f32],
        n: usize,
        spread: &[f32],
        actions: &Actions<'_>,
        logs: &mut [f32],
    ) {
        for (sample, log) in logs.iter_mut().enumerate() {
            *log = match actions {
                Actions::Numbers(numbers) => {
                    let (most, sum) = partition(outputs, n, sample);
                    outputs[numbers[sample] as usize * n + sample] - most - sum.ln()
                }
                Actions::Vectors(vectors) => {
                    let vector = &vectors[sample * spread.len()..][..spread.len()];
                    density(outputs, n, sample, spread, vector)
                }
            };
        }
    }

    /// Overwrite the outputs of samples by the loss's gradient by them, and `spread_slope` by that by the
    /// log-deviations; return the mean entropy.
    ///
    /// The mean entropy times `entropy_weight` is subtracted from the loss.
    pub fn slopes(
        self,
        (outputs, n): (&mut [f32], usize),
        (spread, spread_slope): (&[f32], &mut [f32]),
        actions: &Actions<'_>,
        weigh: &mut impl Weigh,
        entropy_weight: f32,
    ) -> f64 {
        match actions {
            Actions::Numbers(numbers) => categorical(outputs, n, numbers, weigh, entropy_weight),
            Actions::Vectors(vectors) => {
                let samples = vectors.len() / spread.len();
                spread_slope.fill(-entropy_weight);
                for sample in 0..samples {
                    let vector = &vectors[sample * spread.len()..][..spread.len()];
                    let weight = weigh.weigh(sample, density(outputs, n, sample, spread, vector));
                    for (i, (&action, &spread)) in vector.iter().zip(spread).enumerate() {
                        let output = &mut outputs[i * n + sample];
                        let inverse = (-spread).exp();
                        let scaled = (action - *output) * inverse;
                        spread_slope[i] += (scaled * scaled - 1.0) * weight;
                        *output = scaled * weight * inverse;
                    }
                }
                clear_padding(outputs, n, samples);
                let each = 0.5 + HALF_LOG_TWO_PI;
                f64::from(spread.iter().map(|spread| spread + each).sum::<f32>())
            }
        }
    }
}

/// The largest logit of a sample, and the sum of exponentials of all above it.
fn partition(outputs: &[f32], n: usize, sample: usize) -> (f32, f32) {
    let logits = || outputs[sample..].iter().step_by(n);
    let most = logits().copied().fold(f32::NEG_INFINITY, f32::max);
    (most, logits().map(|logit| (logit - most).exp()).sum())
}

fn density(outputs: &[f32], n: usize, sample: usize, spread: &[f32], vector: &[f32]) -> f32 {
    let means = outputs[sample..].iter().step_by(n);
    let each = means.zip(spread).zip(vector);
    let sum: f32 = each
        .map(|((mean, spread), action)| {
            let scaled = (action - mean) * (-spread).exp();
            0.5 * scaled * scaled + spread + HALF_LOG_TWO_PI
        })
        .sum();
    -sum
}

fn categorical(
    outputs: &mut [f32],
    n: usize,
    numbers: &[i64],
    weigh: &mut impl Weigh,
    entropy_weight: f32,
) -> f64 {
    let mut total = 0.0;
    let each = entropy_weight / numbers.len() as f32;
    for (sample, &number) in numbers.iter().enumerate() {
        let (most, sum) = partition(outputs, n, sample);
        let offset = most + sum.ln();
        let mut entropy = 0.0;
        for log in outputs[sample..].iter_mut().step_by(n) {
            *log -= offset;
            entropy -= log.exp() * *log;
        }
        let chosen = number as usize * n + sample;
        let weight = weigh.weigh(sample, outputs[chosen]);
        for log in outputs[sample..].iter_mut().step_by(n) {
            let chance = log.exp();
            // The gradient of -entropy by the logits is p (log p + entropy).
            *log = chance * (each * (*log + entropy) - weight);
        }
        outputs[chosen] += weight;
        total += f64::from(entropy);
    }
    clear_padding(outputs, n, numbers.len());
    total / numbers.len() as f64
}

fn clear_padding(outputs: &mut [f32], n: usize, samples: usize) {
    for row in outputs.chunks_exact_mut(n) {
        row[samples..].fill(0.0);
    }
}
