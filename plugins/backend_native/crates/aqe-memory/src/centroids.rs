//! Centres of lists: learned by k-means on bytes, chosen for rows and for queries.

mod nearest;
mod saved;

pub use nearest::Near;

use crate::Metric;
use crate::code::{self, Factors};
use crate::kernels::{dot, dots, vectorized};
use crate::level::Level;
use crate::list::List;
use crate::panels::Panels;
use crate::random::Random;
use crate::rows::NOWHERE;
use crate::scanner::Scanner;

/// Rows that are multiplied with all centres together.
pub const TOGETHER: usize = 32;

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
    radii: Vec<f32>,
    codes: List,
    metric: Metric,
}

/// Two lists for a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The list of the nearest centre.
    pub first: u32,
    /// The list that finds the row best where the first one is not scanned; `NOWHERE` if there is none.
    pub second: u32,
    /// The loss of the second one (see [`Centroids::choose`]) by the squared distance from the first centre: the less,
    /// the more it helps. Infinite if there is none.
    pub ratio: f32,
}

impl Chosen {
    /// One list.
    pub fn alone(first: u32) -> Chosen {
        Chosen {
            first,
            second: NOWHERE,
            ratio: f32::INFINITY,
        }
    }
}

/// A sample of rows as bytes: row i is about `scales[i] * (bytes - 128)`.
pub struct Sample {
    /// `width` bytes for each row.
    pub bytes: Vec<u8>,
    /// One for each row.
    pub scales: Vec<f32>,
}

impl Centroids {
    /// Round centres, given less the mean. Under l2 lists are ordered by distance, else by dot product.
    pub fn new(level: Level, centred: &[f32], mean: &[f32], metric: Metric) -> Centroids {
        let (mut bytes, mut scales) = (Vec::with_capacity(centred.len()), Vec::new());
        for centre in centred.chunks_exact(mean.len()) {
            let largest = centre
                .iter()
                .fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
            bytes.extend(
                centre
                    .iter()
                    .map(|x| ((x * (127.0 / largest) + 128.5) as i32 - 128) as i8),
            );
            scales.push(largest / 127.0);
        }
        let radii = vec![0.0; scales.len()];
        Centroids::of_bytes(level, bytes, [scales, radii], mean, metric)
    }

    /// The same centres, of lists whose rows are so far from them (root of the mean square).
    pub fn with_radii(self, level: Level, radii: Vec<f32>, mean: &[f32]) -> Centroids {
        Centroids::of_bytes(level, self.bytes, [self.scales, radii], mean, self.metric)
    }

    /// Centres that were rounded already.
    pub(crate) fn of_bytes(
        level: Level,
        bytes: Vec<i8>,
        [scales, radii]: [Vec<f32>; 2],
        mean: &[f32],
        metric: Metric,
    ) -> Centroids {
        let (count, width) = (scales.len(), mean.len());
        let (mut half_squares, mut full_half_squares) = (Vec::new(), Vec::new());
        let (mut rounded, mut full) = (vec![0.0; width], vec![0.0; width]);
        let mut codes = List::new(width / 8, count);
        let mut signs = vec![0; width / 8];
        let mut sums = Vec::new();
        for (list, (centre, &scale)) in bytes.chunks_exact(width).zip(&scales).enumerate() {
            sums.push(centre.iter().map(|&x| i32::from(x)).sum());
            for (i, &byte) in centre.iter().enumerate() {
                rounded[i] = scale * f32::from(byte);
                full[i] = mean[i] + rounded[i];
            }
            half_squares.push(0.5 * dot(level, &rounded, &rounded));
            let half_square = 0.5 * dot(level, &full, &full);
            let factors = code::encode(level, &full, mean, &mut signs);
            // What a query of unknown length adds is left to the candidates.
            let nearer = match metric {
                Metric::Cosine => nearest::REACH * radii[list],
                Metric::Dot => 0.0,
                Metric::L2 => -half_square,
            };
            let offset = factors.offset + nearer;
            codes.push(list as u32, &signs, Factors { offset, ..factors });
            full_half_squares.push(half_square);
        }
        Centroids {
            count,
            width,
            bytes,
            scales,
            sums,
            half_squares,
            full_half_squares,
            radii,
            codes,
            metric,
        }
    }

    /// Learn centres of a sample by Lloyd's algorithm from random rows.
    #[allow(clippy::too_many_arguments, reason = "each is a plain number or slice")]
    pub fn learn(
        level: Level,
        sample: &Sample,
        count: usize,
        mean: &[f32],
        metric: Metric,
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
            level,
            &chosen
                .iter()
                .flat_map(|&i| row(i as usize))
                .collect::<Vec<f32>>(),
            mean,
            metric,
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
            centroids = Centroids::new(level, &sums, mean, metric);
        }
        centroids
    }

    fn assign(&self, level: Level, sample: &Sample, threads: usize) -> Vec<u32> {
        let mut nearest = vec![0u32; sample.scales.len()];
        let share = nearest.len().div_ceil(threads).max(1);
        let panels = &self.panels(level);
        std::thread::scope(|scope| {
            for (part, out) in nearest.chunks_mut(share).enumerate() {
                scope.spawn(move || {
                    let mut values = vec![0f32; self.count];
                    let mut products = vec![0i32; TOGETHER * panels.stride()];
                    for (i, out) in out.chunks_mut(TOGETHER).enumerate() {
                        let first = part * share + i * TOGETHER;
                        let bytes = &sample.bytes[first * self.width..][..out.len() * self.width];
                        panels.products(bytes, &mut products);
                        for (k, list) in out.iter_mut().enumerate() {
                            let products = &products[k * panels.stride()..];
                            self.nearness(level, sample.scales[first + k], products, &mut values);
                            *list = best(&values);
                        }
                    }
                });
            }
        });
        nearest
    }

    /// The products of a row's bytes with the centres.
    pub fn products(&self, level: Level, bytes: &[u8], out: &mut Vec<i32>) {
        out.resize(self.count, 0);
        dots(level, bytes, &self.bytes, out);
    }

    /// The centres laid out for products with many rows.
    pub fn panels(&self, level: Level) -> Panels {
        Panels::new(level, &self.bytes, self.width)
    }

    /// For each centre what falls with the distance of a centred row: `row . centre - |centre|^2 / 2`.
    fn nearness(&self, level: Level, scale: f32, products: &[i32], values: &mut [f32]) {
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

    /// The list of the nearest centre, and a second one whose residual is small and orthogonal to the first
    /// (Sun et al., SOAR, NeurIPS 2023): least `|r2|^2 + <r1, r2>^2 / |r1|^2`. None if there is one centre only.
    ///
    /// `centred` is the row less the mean; `products` are those of its bytes with the centres, and `scale` goes with
    /// the bytes as in [`Sample`].
    pub fn choose(
        &self,
        level: Level,
        scale: f32,
        centred: &[f32],
        products: &[i32],
        work: &mut Ranking,
    ) -> Chosen {
        if self.count == 1 {
            return Chosen::alone(0);
        }
        work.values.resize(self.count, 0.0);
        self.nearness(level, scale, products, &mut work.values);
        let near = largest(&work.values);
        if near[0].1 == u32::MAX {
            return Chosen::alone(0); // so long that its products are infinite: one list is as good as another
        }
        let first = near[0].1 as usize;
        let (residual, centre) = (&mut work.residual, &mut work.centre);
        residual.resize(self.width, 0.0);
        centre.resize(self.width, 0.0);
        let scaled = |list: usize, centre: &mut [f32]| {
            let scale = self.scales[list];
            vectorized(
                level,
                #[inline(always)]
                || {
                    for (x, &byte) in centre.iter_mut().zip(self.bytes_of(list)) {
                        *x = scale * f32::from(byte);
                    }
                },
            );
        };
        scaled(first, centre);
        for ((r, x), c) in residual.iter_mut().zip(centred).zip(&*centre) {
            *r = x - c;
        }
        let square = dot(level, residual, residual).max(f32::MIN_POSITIVE);
        let along = dot(level, residual, centred);
        let whole = dot(level, centred, centred);
        let (mut least, mut second) = (f32::INFINITY, NOWHERE);
        for &(value, list) in near[1..].iter().filter(|near| near.1 != u32::MAX) {
            scaled(list as usize, centre);
            let inner = along - dot(level, residual, centre);
            let loss = whole - 2.0 * value + inner * inner / square;
            if loss < least {
                (least, second) = (loss, list);
            }
        }
        if second == NOWHERE {
            return Chosen::alone(first as u32);
        }
        Chosen {
            first: first as u32,
            second,
            ratio: least / square,
        }
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
        self.bytes.capacity() + 20 * self.count + self.codes.bytes()
    }
}

/// Scratch of [`Centroids::nearest`] and [`Centroids::choose`].
#[derive(Default)]
pub struct Ranking {
    scanner: Scanner,
    candidates: Vec<u32>,
    dots: Vec<f32>,
    order: Vec<u64>,
    found: Vec<Near>,
    waiting: Option<nearest::Waiting>,
    values: Vec<f32>,
    products: Vec<i32>,
    residual: Vec<f32>,
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
