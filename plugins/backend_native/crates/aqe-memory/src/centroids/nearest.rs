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

impl Centroids {
    /// The lists to scan for a query, best first.
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
            products,
            dots,
            order,
            values,
            found,
            ..
        } = work;
        // Codes tell roughly which lists are near, and how far they reach only where the length of queries is known.
        let rough = match self.metric {
            Metric::Cosine => probes + probes / 8 + 4,
            _ => 2 * probes + 16,
        };
        candidates.clear();
        if 2 * rough < self.count {
            scanner.start(level, rough);
            let codes = self.codes.codes();
            scanner.scan([&codes, &codes], &query.lookup(), dot_mean);
            scanner.finish();
            for &list in scanner.found() {
                prefetch(self.bytes_of(list as usize));
            }
            candidates.extend_from_slice(scanner.found());
        } else {
            candidates.extend(0..self.count as u32);
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
            let numbers = numbers[..values.len()].iter().take(probes);
            found.extend(numbers.map(|&i| near(values[i as usize], i)));
            return found;
        }
        order.clear();
        order.extend((0..).zip(&*values).map(|(i, &value)| packed(value, i)));
        order.sort_unstable();
        found.extend(order.iter().take(probes).map(|&entry| {
            let (value, i) = unpacked(entry);
            near(value, i)
        }));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
