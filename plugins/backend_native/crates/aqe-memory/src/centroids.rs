//! Centres of lists: learned by k-means on bytes, chosen for rows and for queries.

mod saved;

use crate::kernels::{dot_f32, dots, vectorized};
use crate::level::Level;
use crate::query::Query;
use crate::random::Random;

/// Candidates for the second list of a row.
const CANDIDATES: usize = 16;

/// Centres, as bytes around the mean: a centre is exactly `mean + scale * bytes`.
pub struct Centroids {
    /// How many.
    pub count: usize,
    /// Dimensions, padded.
    pub width: usize,
    bytes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    half_squares: Vec<f32>,
    full_half_squares: Vec<f32>,
}

/// A sample of rows as bytes: row i is about `scales[i] * (bytes - 128)`.
pub struct Sample {
    /// `width` bytes for each row.
    pub bytes: Vec<u8>,
    /// One for each row.
    pub scales: Vec<f32>,
}

impl Centroids {
    /// Round centres, given less the mean.
    pub fn new(centred: &[f32], mean: &[f32]) -> Centroids {
        let width = mean.len();
        let count = centred.len() / width;
        let (mut bytes, mut scales, mut sums) =
            (Vec::with_capacity(centred.len()), Vec::new(), Vec::new());
        let (mut half_squares, mut full_half_squares) = (Vec::new(), Vec::new());
        let (mut rounded, mut full) = (vec![0.0; width], vec![0.0; width]);
        for centre in centred.chunks_exact(width) {
            let largest = centre
                .iter()
                .fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
            let start = bytes.len();
            bytes.extend(
                centre
                    .iter()
                    .map(|x| ((x * (127.0 / largest) + 128.5) as i32 - 128) as i8),
            );
            let scale = largest / 127.0;
            scales.push(scale);
            sums.push(bytes[start..].iter().map(|&x| i32::from(x)).sum());
            for (i, &byte) in bytes[start..].iter().enumerate() {
                rounded[i] = scale * f32::from(byte);
                full[i] = mean[i] + rounded[i];
            }
            half_squares.push(0.5 * dot_f32(&rounded, &rounded));
            full_half_squares.push(0.5 * dot_f32(&full, &full));
        }
        Centroids {
            count,
            width,
            bytes,
            scales,
            sums,
            half_squares,
            full_half_squares,
        }
    }

    /// Learn centres of a sample by Lloyd's algorithm from random rows.
    pub fn learn(
        level: Level,
        sample: &Sample,
        count: usize,
        mean: &[f32],
        seed: u64,
        threads: usize,
    ) -> Centroids {
        const ROUNDS: usize = 6;
        let (width, n) = (mean.len(), sample.scales.len());
        let mut random = Random::new(seed);
        let chosen = random.sample((0..n as u32).collect(), count);
        let row = |i: usize| {
            let scale = sample.scales[i];
            sample.bytes[i * width..][..width]
                .iter()
                .map(move |&b| scale * (f32::from(b) - 128.0))
        };
        let mut centroids = Centroids::new(
            &chosen
                .iter()
                .flat_map(|&i| row(i as usize))
                .collect::<Vec<f32>>(),
            mean,
        );
        for _ in 0..ROUNDS {
            let nearest = centroids.assign(level, sample, threads);
            let mut sums = vec![0f32; centroids.count * width];
            let mut sizes = vec![0f32; centroids.count];
            for (i, &list) in nearest.iter().enumerate() {
                sizes[list as usize] += 1.0;
                let (scale, bytes) = (sample.scales[i], &sample.bytes[i * width..][..width]);
                let sum = &mut sums[list as usize * width..][..width];
                vectorized(
                    level,
                    #[inline(always)]
                    || {
                        for (total, &byte) in sum.iter_mut().zip(bytes) {
                            *total += scale * (f32::from(byte) - 128.0);
                        }
                    },
                );
            }
            for (list, &size) in sizes.iter().enumerate() {
                let centre = &mut sums[list * width..][..width];
                if size > 0.0 {
                    centre.iter_mut().for_each(|x| *x /= size);
                } else {
                    let other = random.below(n);
                    centre
                        .iter_mut()
                        .zip(row(other))
                        .for_each(|(x, value)| *x = value);
                }
            }
            centroids = Centroids::new(&sums, mean);
        }
        centroids
    }

    fn assign(&self, level: Level, sample: &Sample, threads: usize) -> Vec<u32> {
        let mut nearest = vec![0u32; sample.scales.len()];
        let share = nearest.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (part, out) in nearest.chunks_mut(share).enumerate() {
                scope.spawn(move || {
                    let mut values = vec![0f32; self.count];
                    let mut products = vec![0i32; self.count];
                    for (i, list) in out.iter_mut().enumerate() {
                        let row = part * share + i;
                        let bytes = &sample.bytes[row * self.width..][..self.width];
                        self.nearness(level, bytes, sample.scales[row], &mut products, &mut values);
                        *list = best(&values);
                    }
                });
            }
        });
        nearest
    }

    /// For each centre what falls with the distance of a centred row: `row . centre - |centre|^2 / 2`.
    fn nearness(
        &self,
        level: Level,
        bytes: &[u8],
        scale: f32,
        products: &mut [i32],
        values: &mut [f32],
    ) {
        dots(level, bytes, &self.bytes, products);
        let n = self.count;
        vectorized(
            level,
            #[inline(always)]
            || {
                let (scales, sums) = (&self.scales[..n], &self.sums[..n]);
                let (products, half_squares) = (&products[..n], &self.half_squares[..n]);
                for (i, value) in values[..n].iter_mut().enumerate() {
                    let dot = scale * scales[i] * (products[i] - 128 * sums[i]) as f32;
                    *value = dot - half_squares[i];
                }
            },
        );
    }

    /// For each centre the dot product with the query, into `bases`, and what orders lists, into `values`.
    pub fn rank(&self, level: Level, query: &Query, dot_mean: f32, l2: bool, work: &mut Ranking) {
        work.products.resize(self.count, 0);
        work.bases.resize(self.count, 0.0);
        work.values.resize(self.count, 0.0);
        dots(level, &query.unsigned, &self.bytes, &mut work.products);
        let (unit, n) = (256.0 * query.unit, self.count);
        vectorized(
            level,
            #[inline(always)]
            || {
                let (scales, sums, products) =
                    (&self.scales[..n], &self.sums[..n], &work.products[..n]);
                let (bases, half_squares) = (&mut work.bases[..n], &self.full_half_squares[..n]);
                for (i, base) in bases.iter_mut().enumerate() {
                    *base = dot_mean + unit * scales[i] * (products[i] - 128 * sums[i]) as f32;
                }
                let less = if l2 { 1.0 } else { 0.0 };
                for (i, value) in work.values[..n].iter_mut().enumerate() {
                    *value = bases[i] - less * half_squares[i];
                }
            },
        );
    }

    /// The list of the nearest centre, and a second one whose residual is small and orthogonal to the first
    /// (Sun et al., SOAR, NeurIPS 2023): least `|r2|^2 + <r1, r2>^2 / |r1|^2`. Equal if there is one centre only.
    ///
    /// `bytes` and `scale` stand for the centred row as in [`Sample`], `centred` is the row itself less the mean.
    pub fn choose(
        &self,
        level: Level,
        bytes: &[u8],
        scale: f32,
        centred: &[f32],
        work: &mut Ranking,
    ) -> [u32; 2] {
        if self.count == 1 {
            return [0, 0];
        }
        work.products.resize(self.count, 0);
        work.values.resize(self.count, 0.0);
        self.nearness(level, bytes, scale, &mut work.products, &mut work.values);
        let near = largest(&work.values);
        if near[0].1 == u32::MAX {
            return [0, 0]; // so long that its products are infinite: one list is as good as another
        }
        let first = near[0].1 as usize;
        let (residual, centre) = (&mut work.bases, &mut work.centre);
        residual.clear();
        centre.resize(self.width, 0.0);
        vectorized(
            level,
            #[inline(always)]
            || {
                let scale = self.scales[first];
                residual.extend(
                    centred
                        .iter()
                        .zip(self.bytes_of(first))
                        .map(|(x, &c)| x - scale * f32::from(c)),
                );
                let square = dot_f32(residual, residual).max(f32::MIN_POSITIVE);
                let along = dot_f32(residual, centred);
                let whole = dot_f32(centred, centred);
                let mut second = (f32::INFINITY, first as u32);
                for &(value, list) in near[1..].iter().filter(|near| near.1 != u32::MAX) {
                    let bytes = self.bytes_of(list as usize);
                    for (x, &byte) in centre.iter_mut().zip(bytes) {
                        *x = f32::from(byte);
                    }
                    let inner = along - self.scales[list as usize] * dot_f32(residual, centre);
                    let loss = whole - 2.0 * value + inner * inner / square;
                    if loss < second.0 {
                        second = (loss, list);
                    }
                }
                [first as u32, second.1]
            },
        )
    }

    fn bytes_of(&self, list: usize) -> &[i8] {
        &self.bytes[list * self.width..][..self.width]
    }

    /// Write the centre of a list, mean included.
    pub fn centre(&self, list: u32, mean: &[f32], out: &mut [f32]) {
        let scale = self.scales[list as usize];
        for ((x, m), &byte) in out.iter_mut().zip(mean).zip(self.bytes_of(list as usize)) {
            *x = m + scale * f32::from(byte);
        }
    }

    /// Squared distance of a centred row from the centre of a list.
    pub fn error(&self, list: u32, centred: &[f32]) -> f64 {
        let scale = self.scales[list as usize];
        let differences = centred
            .iter()
            .zip(self.bytes_of(list as usize))
            .map(|(x, &c)| x - scale * f32::from(c));
        differences.map(|r| f64::from(r) * f64::from(r)).sum()
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + 16 * self.count
    }
}

/// Scratch of [`Centroids::rank`] and [`Centroids::choose`].
#[derive(Default)]
pub struct Ranking {
    /// Dot products of query and centres.
    pub bases: Vec<f32>,
    /// What orders the lists, larger first.
    pub values: Vec<f32>,
    products: Vec<i32>,
    centre: Vec<f32>,
}

fn best(values: &[f32]) -> u32 {
    let mut found = (f32::NEG_INFINITY, 0);
    for (i, &value) in values.iter().enumerate() {
        if value > found.0 {
            found = (value, i as u32);
        }
    }
    found.1
}

fn largest(values: &[f32]) -> [(f32, u32); CANDIDATES] {
    let mut found = [(f32::NEG_INFINITY, u32::MAX); CANDIDATES];
    for (i, &value) in values.iter().enumerate() {
        if value > found[CANDIDATES - 1].0 {
            let mut place = CANDIDATES - 1;
            while place > 0 && value > found[place - 1].0 {
                found[place] = found[place - 1];
                place -= 1;
            }
            found[place] = (value, i as u32);
        }
    }
    found
}
