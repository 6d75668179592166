//! The lists that are scanned for a query.

use super::{Centroids, Ranking};
use crate::Metric;
use crate::kernels::{dots_at, prefetch};
use crate::level::Level;
use crate::query::Query;
use crate::select::{self, FEW, packed, unpacked};

/// A list counts as so much nearer to a query of unit length, for each unit of its radius: of two lists whose centres
/// are as near, the wider one has the nearer rows.
pub(super) const REACH: f32 = 0.3;

/// Where codes name more candidates than this, the best of them are ranked first: by the time these are scanned most
/// searches know that nearly all others are too far.
const MANY: usize = 128;

/// Lists that are found at first then; of some more the bytes are compared.
const FIRST: usize = 16;

/// A list is left out whose codes tell that it is worse by more than this. From 0.02 on what is found stayed the same.
const ROUGH: f32 = 0.03;

/// A list that is near to a query.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    /// The dot product of query and centre, under l2 less half the mean square of the rows, and what the list reaches
    /// beyond its centre.
    pub value: f32,
    /// The dot product of query and centre.
    pub dot: f32,
    /// The list.
    pub list: u32,
}

/// Candidates of which the bytes have not been looked at.
pub(super) struct Waiting {
    /// Estimates of those that have are above it.
    bound: f32,
    /// Lists that are scanned at most.
    probes: usize,
}

impl Centroids {
    /// The lists to scan for a query, best first. There may be more of them: see [`Centroids::farther`].
    pub fn nearest<'a>(
        &self,
        level: Level,
        query: &Query,
        dot_mean: f32,
        probes: usize,
        work: &'a mut Ranking,
    ) -> &'a [Near] {
        let Ranking {
            scanner,
            candidates,
            waiting,
            ..
        } = work;
        // Codes tell roughly which lists are near, and how far they reach only where the length of queries is known.
        let known = self.metric == Metric::Cosine;
        let rough = if known {
            with_spare(probes)
        } else {
            2 * probes + 16
        };
        candidates.clear();
        *waiting = None;
        if 2 * rough < self.count {
            scanner.start(level, rough);
            let codes = self.codes.codes();
            scanner.scan([&codes, &codes], &query.lookup(), dot_mean);
            scanner.finish();
            if known && rough > MANY {
                let bound = scanner.estimate_of(with_spare(FIRST));
                candidates.extend(scanner.between(bound, f32::INFINITY));
                *waiting = Some(Waiting { bound, probes });
                let found = self.rank(level, query, dot_mean, candidates.len(), work);
                return &found[..FIRST.min(found.len())];
            }
            candidates.extend_from_slice(scanner.found());
        } else {
            candidates.extend(0..self.count as u32);
        }
        self.rank(level, query, dot_mean, probes, work)
    }

    /// The lists to scan after the nearest, best first, without those whose codes tell that they are worse than `least`.
    /// None if there are no more.
    pub fn farther<'a>(
        &self,
        level: Level,
        query: &Query,
        dot_mean: f32,
        least: f32,
        work: &'a mut Ranking,
    ) -> &'a [Near] {
        let Some(Waiting { bound, probes }) = work.waiting.take() else {
            return &[];
        };
        let ranked = work.found.iter().skip(FIRST).map(|near| near.list);
        work.candidates.clear();
        work.candidates.extend(ranked);
        let others = work.scanner.between(least - ROUGH, bound);
        work.candidates.extend(others);
        self.rank(level, query, dot_mean, probes - FIRST, work)
    }

    /// The best of the candidates, in order.
    fn rank<'a>(
        &self,
        level: Level,
        query: &Query,
        dot_mean: f32,
        most: usize,
        work: &'a mut Ranking,
    ) -> &'a [Near] {
        let Ranking {
            candidates,
            products,
            dots,
            order,
            values,
            found,
            ..
        } = work;
        for &list in &*candidates {
            prefetch(self.bytes_of(list as usize));
        }
        products.resize(candidates.len(), 0);
        dots_at(level, &query.unsigned, &self.bytes, candidates, products);
        let unit = 256.0 * query.unit;
        let length = query.square.sqrt() as f32;
        dots.clear();
        values.clear();
        for (&list, product) in candidates.iter().zip(&*products) {
            let list = list as usize;
            let sum = product - 128 * self.sums[list];
            let dot = dot_mean + unit * self.scales[list] * sum as f32;
            let value = match self.metric {
                Metric::L2 => {
                    let centre = dot - self.full_half_squares[list];
                    let away = (query.square as f32 - 2.0 * centre).max(0.0).sqrt();
                    centre + self.radii[list] * (REACH * away - 0.5 * self.radii[list])
                }
                _ => dot + REACH * length * self.radii[list],
            };
            dots.push(dot);
            values.push(value);
        }
        let near = |value, i: u32| Near {
            value,
            dot: dots[i as usize],
            list: candidates[i as usize],
        };
        found.clear();
        // What is no number has no place among the others.
        if values.len() <= FEW && !values.iter().any(|value| value.is_nan()) {
            let numbers = select::order(level, values);
            let numbers = numbers[..values.len()].iter().take(most);
            found.extend(numbers.map(|&i| near(values[i as usize], i)));
            return found;
        }
        order.clear();
        order.extend((0..).zip(&*values).map(|(i, &value)| packed(value, i)));
        order.sort_unstable();
        found.extend(order.iter().take(most).map(|&entry| {
            let (value, i) = unpacked(entry);
            near(value, i)
        }));
        found
    }
}

/// Some lists more, as codes take some for others.
fn with_spare(lists: usize) -> usize {
    lists + lists / 8 + 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dot;
    use crate::random::Random;

    #[test]
    fn of_lists_as_near_the_wider_one_comes_first() {
        const WIDTH: usize = 128;
        // Centres at the same distance from the query, which stands along the first axis.
        let mut centres = vec![0.0; 3 * WIDTH];
        for (i, centre) in centres.chunks_exact_mut(WIDTH).enumerate() {
            (centre[0], centre[i + 1]) = (0.5, 0.5);
        }
        let (mean, level) = (vec![0.0; WIDTH], Level::best());
        let mut query = Query::default();
        query.floats = vec![0.0; WIDTH];
        query.floats[0] = 1.0;
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            query.prepare(level, metric == Metric::Cosine);
            let centroids = Centroids::new(level, &centres, &mean, metric);
            let centroids = centroids.with_radii(level, vec![0.05, 0.2, 0.1], &mean);
            let mut work = Ranking::default();
            let order = centroids.nearest(level, &query, 0.0, 3, &mut work);
            let lists: Vec<u32> = order.iter().map(|near| near.list).collect();
            assert_eq!(lists, [1, 2, 0], "{metric:?}");
            assert!(order.iter().all(|near| (near.dot - 0.5).abs() < 0.01));
        }
    }

    #[test]
    fn of_many_lists_those_that_may_be_near_enough_are_found_in_two_steps() {
        const WIDTH: usize = 128;
        let (mut random, mean, level) = (Random::new(1), vec![0.0; WIDTH], Level::best());
        let mut unit = || {
            let mut vector: Vec<f32> = (0..WIDTH)
                .map(|_| random.below(999) as f32 - 499.0)
                .collect();
            let length = dot(level, &vector, &vector).sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
            vector
        };
        let mut query = Query::default();
        query.floats = unit();
        query.prepare(level, true);
        let centres: Vec<f32> = (0..600).flat_map(|_| unit()).collect();
        let centroids = Centroids::new(level, &centres, &mean, Metric::Cosine);
        let (probes, mut work) = (140, Ranking::default());
        assert!(with_spare(probes) > MANY);

        // Without a bound they are all there, and the best come first.
        let mut values = Vec::new();
        let near = centroids.nearest(level, &query, 0.0, probes, &mut work);
        assert_eq!(near.len(), FIRST);
        values.extend(near.iter().map(|near| near.value));
        let least = f32::NEG_INFINITY;
        let far = centroids.farther(level, &query, 0.0, least, &mut work);
        values.extend(far.iter().map(|near| near.value));
        assert!(values[..FIRST].is_sorted_by(|a, b| a >= b));
        assert!(values[FIRST..].is_sorted_by(|a, b| a >= b));
        assert!(
            centroids
                .farther(level, &query, 0.0, least, &mut work)
                .is_empty()
        );
        work.candidates.clear();
        work.candidates.extend_from_slice(work.scanner.found());
        let all = centroids.rank(level, &query, 0.0, probes, &mut work);
        let all: Vec<f32> = all.iter().map(|near| near.value).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(values, all);

        // With one, those that are better.
        let least = all[50];
        let near = centroids.nearest(level, &query, 0.0, probes, &mut work);
        let mut above: Vec<f32> = near.iter().map(|near| near.value).collect();
        let far = centroids.farther(level, &query, 0.0, least, &mut work);
        assert!(far.len() < probes - FIRST);
        above.extend(far.iter().map(|near| near.value));
        let is_above = |&&value: &&f32| value >= least + ROUGH;
        let count = all.iter().filter(is_above).count();
        assert!(count > FIRST / 2);
        assert_eq!(above.iter().filter(is_above).count(), count);
    }
}
