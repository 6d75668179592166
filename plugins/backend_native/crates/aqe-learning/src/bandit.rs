//! Linear contextual bandits: a Gaussian model of the reward per action, kept as mean and covariance.

const LANES: usize = 16; // numbers added side by side: the loops below compile to vector instructions

/// Ridge, discount: weight of the prior, and what is left of a model's knowledge after an update of any.
#[derive(Clone, Copy)]
pub struct Prior {
    /// Weight of the prior.
    pub ridge: f64,
    /// Share of the precision above the prior's that is kept per update; 1 forgets nothing.
    pub discount: f64,
}

/// Everything that was learned, by action.
pub struct LinearModels {
    /// Means, shape (actions, dim).
    pub theta: Vec<f64>,
    /// Covariances, shape (actions, dim, dim).
    pub covariance: Vec<f64>,
    /// Number of the update that was each one's last; 0 without a discount.
    pub updated: Vec<u64>,
    /// Updates of each.
    pub visits: Vec<u64>,
    /// Updates of all.
    pub steps: u64,
}

/// The models of all actions, and one context to ask them about.
///
/// The formulas are those of `aqe_backend_numpy.bandits`; sums are added in another order.
pub struct Bandit {
    prior: Prior,
    dim: usize,
    stride: usize, // dim, rounded up to whole lanes; what is beyond dim is zero everywhere
    models: Vec<f64>, // of each action its mean, then the rows of its covariance
    updated: Vec<u64>,
    visits: Vec<u64>,
    steps: u64,
    context: Vec<f64>,
    product: Vec<f64>,
    wide: bool, // the processor has AVX2
}

impl Bandit {
    /// Models that know nothing but the prior. `dim` and `actions` are above 0.
    pub fn new(dim: usize, actions: usize, prior: Prior) -> Self {
        let stride = dim.next_multiple_of(LANES);
        let mut bandit = Self {
            prior,
            dim,
            stride,
            models: vec![0.0; actions * (1 + dim) * stride],
            updated: vec![0; actions],
            visits: vec![0; actions],
            steps: 0,
            context: vec![0.0; stride],
            product: vec![0.0; stride],
            wide: has_avx2(),
        };
        for model in bandit.models.chunks_exact_mut((1 + dim) * stride) {
            for i in 0..dim {
                model[(1 + i) * stride + i] = 1.0 / prior.ridge;
            }
        }
        bandit
    }

    /// Length of a context.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of actions.
    pub fn actions(&self) -> usize {
        self.visits.len()
    }

    /// Updates of all actions.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates of an action.
    pub fn visits(&self, action: usize) -> u64 {
        self.visits[action]
    }

    /// Take the context that the other methods speak of; its first `dim` numbers count. O(dim).
    ///
    /// Returns whether the sum of its squares is finite; if not, take another before going on.
    #[inline]
    pub fn take<'a>(&mut self, context: impl IntoIterator<Item = &'a f64>) -> bool {
        for (held, &given) in self.context[..self.dim].iter_mut().zip(context) {
            *held = given;
        }
        dot(&self.context, &self.context).is_finite()
    }

    /// The expected reward of an action, and its variance in units of the noise's. O(dim^2).
    #[inline]
    pub fn moments(&self, action: usize) -> (f64, f64) {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: `wide` says that the processor has what the function is compiled for.
            return unsafe { self.moments_avx2(action) };
        }
        self.moments_portable(action)
    }

    /// The same operations in the same order, so the same bits, four numbers per instruction.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn moments_avx2(&self, action: usize) -> (f64, f64) {
        self.moments_portable(action)
    }

    #[inline(always)]
    fn moments_portable(&self, action: usize) -> (f64, f64) {
        let size = (1 + self.dim) * self.stride;
        let (theta, covariance) = self.models[action * size..][..size].split_at(self.stride);
        let mean = dot(theta, &self.context);
        let mut variance = 0.0;
        for block in (0..self.stride).step_by(LANES) {
            let sums = times(covariance, &self.context, block);
            variance += dot(&sums, &self.context[block..block + LANES]);
        }
        if self.prior.discount >= 1.0 {
            return (mean, variance);
        }
        let kept = self.kept(self.steps - self.updated[action]);
        let unknown = dot(&self.context, &self.context) / self.prior.ridge;
        (mean * kept.sqrt(), kept * variance + (1.0 - kept) * unknown)
    }

    /// Which of the offered actions has the highest upper confidence bound; of equal ones the first. O(offered dim^2).
    ///
    /// `None` if none was offered.
    #[inline]
    pub fn best(&self, offered: impl IntoIterator<Item = usize>, alpha: f64) -> Option<usize> {
        let mut best = None;
        for (place, action) in offered.into_iter().enumerate() {
            let (mean, variance) = self.moments(action);
            let bound = variance.max(0.0).sqrt() * alpha + mean;
            if best.is_none_or(|(_, highest)| bound > highest) {
                best = Some((place, bound));
            }
        }
        best.map(|(place, _)| place)
    }

    /// Learn what an action earned in the context. O(dim^2).
    pub fn learn(&mut self, action: usize, reward: f64) {
        self.steps += 1;
        let kept = self.kept(self.steps - self.updated[action]);
        let (dim, stride, size) = (self.dim, self.stride, (1 + self.dim) * self.stride);
        let model = &mut self.models[action * size..][..size];
        if self.prior.discount < 1.0 {
            let regained = (1.0 - kept) / self.prior.ridge;
            let (theta, covariance) = model.split_at_mut(stride);
            theta.iter_mut().for_each(|number| *number *= kept.sqrt());
            covariance.iter_mut().for_each(|number| *number *= kept);
            (0..dim).for_each(|i| covariance[i * stride + i] += regained);
            self.updated[action] = self.steps;
        }
        let (theta, covariance) = model.split_at_mut(stride);
        for (block, products) in self.product.chunks_exact_mut(LANES).enumerate() {
            products.copy_from_slice(&times(covariance, &self.context, block * LANES));
        }
        let scale = 1.0 / (1.0 + dot(&self.product, &self.context));
        let step = (reward - dot(theta, &self.context)) * scale;
        let root = scale.sqrt();
        for (number, product) in theta.iter_mut().zip(&mut self.product) {
            *number += *product * step;
            *product *= root;
        }
        // A product of one vector with itself, so that the covariance stays symmetric to the last bit.
        for (row, &factor) in covariance.chunks_exact_mut(stride).zip(&self.product) {
            for (number, &product) in row.iter_mut().zip(&self.product) {
                *number -= factor * product;
            }
        }
        self.visits[action] += 1;
    }

    /// Everything learned. O(actions dim^2).
    pub fn learned(&self) -> LinearModels {
        let mut learned = LinearModels {
            theta: Vec::with_capacity(self.actions() * self.dim),
            covariance: Vec::with_capacity(self.actions() * self.dim * self.dim),
            updated: self.updated.clone(),
            visits: self.visits.clone(),
            steps: self.steps,
        };
        for (i, row) in self.models.chunks_exact(self.stride).enumerate() {
            let to = if i % (1 + self.dim) == 0 {
                &mut learned.theta
            } else {
                &mut learned.covariance
            };
            to.extend_from_slice(&row[..self.dim]);
        }
        learned
    }

    /// Replace everything learned. O(actions dim^2).
    ///
    /// Returns `false`, and changes nothing, if the lengths are not those of these models.
    pub fn resume(&mut self, learned: &LinearModels) -> bool {
        let (n, dim) = (self.actions(), self.dim);
        if learned.theta.len() != n * dim
            || learned.covariance.len() != n * dim * dim
            || learned.updated.len() != n
            || learned.visits.len() != n
            || learned.updated.iter().any(|&last| last > learned.steps)
        {
            return false;
        }
        let (mut means, mut rows) = (
            learned.theta.chunks_exact(dim),
            learned.covariance.chunks_exact(dim),
        );
        for (i, held) in self.models.chunks_exact_mut(self.stride).enumerate() {
            let from = if i % (1 + dim) == 0 {
                &mut means
            } else {
                &mut rows
            };
            held[..dim].copy_from_slice(from.next().unwrap_or(&[]));
        }
        self.updated.copy_from_slice(&learned.updated);
        self.visits.copy_from_slice(&learned.visits);
        self.steps = learned.steps;
        true
    }

    fn kept(&self, updates: u64) -> f64 {
        self.prior.discount.powf(updates as f64)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// Add products to sums, lane by lane; lengths known when compiling keep the sums in registers.
#[inline(always)]
fn add_products(sums: &mut [f64; LANES], left: &[f64; LANES], right: &[f64; LANES]) {
    for ((sum, &left), &right) in sums.iter_mut().zip(left).zip(right) {
        *sum += left * right;
    }
}

/// Sum of products; the lengths are whole lanes.
#[inline(always)]
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    for (left, right) in left.as_chunks().0.iter().zip(right.as_chunks().0) {
        add_products(&mut sums, left, right);
    }
    let mut half = LANES;
    while half > 1 {
        half /= 2;
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

/// The product of a covariance with a context, `LANES` numbers of it: rows are columns, as it is symmetric.
#[inline(always)]
fn times(covariance: &[f64], context: &[f64], block: usize) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for (row, &factor) in covariance[block..].chunks(context.len()).zip(context) {
        if let Some(row) = row.first_chunk() {
            add_products(&mut sums, row, &[factor; LANES]);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIOR: Prior = Prior {
        ridge: 2.0,
        discount: 1.0,
    };

    #[test]
    fn one_dimension_by_hand() {
        let mut bandit = Bandit::new(1, 2, PRIOR);
        assert!(bandit.take(&[2.0]));
        bandit.learn(1, 3.0);
        // Precision 2 + 2 * 2, so variance 1 / 6 and mean 2 * 3 / 6.
        let (mean, variance) = bandit.moments(1);
        assert!((mean - 2.0).abs() < 1e-15 && (variance - 4.0 / 6.0).abs() < 1e-15);
        assert_eq!(bandit.moments(0), (0.0, 2.0));
        assert_eq!(bandit.best([0, 1], 0.0), Some(1));
        assert_eq!(bandit.best([0, 0], 1.0), Some(0));
        assert_eq!(bandit.best([], 1.0), None);
        assert_eq!(
            (bandit.steps(), bandit.visits(0), bandit.visits(1)),
            (1, 0, 1)
        );
    }

    #[test]
    fn wide_and_portable_give_the_same_bits() {
        for &dim in if cfg!(miri) {
            &[5, 16][..]
        } else {
            &[1, 5, 16, 33]
        } {
            let mut bandit = Bandit::new(
                dim,
                2,
                Prior {
                    discount: 0.9,
                    ..PRIOR
                },
            );
            for i in 0..if cfg!(miri) { 4 } else { 50 } {
                let context: Vec<f64> = (0..dim).map(|j| ((i * 7 + j * 13) as f64).sin()).collect();
                bandit.take(&context);
                bandit.learn(i % 2, i as f64);
                for action in 0..2 {
                    let (mean, variance) = bandit.moments(action);
                    let (mean_too, variance_too) = bandit.moments_portable(action);
                    assert_eq!(mean.to_bits(), mean_too.to_bits());
                    assert_eq!(variance.to_bits(), variance_too.to_bits());
                }
            }
        }
    }

    #[test]
    fn what_is_not_seen_returns_to_the_prior() {
        let mut bandit = Bandit::new(
            1,
            2,
            Prior {
                discount: 0.5,
                ..PRIOR
            },
        );
        bandit.take(&[1.0]);
        bandit.learn(0, 6.0);
        (0..60).for_each(|_| bandit.learn(1, 0.0));
        let (mean, variance) = bandit.moments(0);
        assert!(mean.abs() < 1e-8 && (variance - 0.5).abs() < 1e-12);
    }

    #[test]
    fn numbers_whose_squares_overflow_are_told() {
        let mut bandit = Bandit::new(3, 1, PRIOR);
        for bad in [1e200, f64::INFINITY, f64::NAN] {
            assert!(!bandit.take(&[0.0, bad, 0.0]));
        }
        assert!(bandit.take(&[0.0, 1e150, 0.0]));
    }

    #[test]
    fn resumes_at_any_width() {
        for &dim in if cfg!(miri) {
            &[7, 9][..]
        } else {
            &[1, 7, 8, 9, 33]
        } {
            let (mut one, mut other) = (Bandit::new(dim, 3, PRIOR), Bandit::new(dim, 3, PRIOR));
            let contexts: Vec<Vec<f64>> = (0..if cfg!(miri) { 4 } else { 20 })
                .map(|i| {
                    (0..dim)
                        .map(|j| ((i * 31 + j * 17) % 23) as f64 - 11.0)
                        .collect()
                })
                .collect();
            for (i, context) in contexts.iter().enumerate() {
                one.take(context);
                one.learn(i % 3, i as f64);
            }
            assert!(other.resume(&one.learned()));
            for bandit in [&mut one, &mut other] {
                bandit.take(&contexts[3]);
                bandit.learn(2, -1.0);
            }
            for action in 0..3 {
                assert_eq!(one.moments(action), other.moments(action));
            }
            let covariance = one.learned().covariance;
            for i in 0..dim {
                for j in 0..dim {
                    assert_eq!(covariance[i * dim + j], covariance[j * dim + i]);
                }
            }
            assert!(!other.resume(&Bandit::new(dim + 1, 3, PRIOR).learned()));
        }
    }
}
