//! Weights whose running sums can be searched and changed quickly.

const WIDTH: usize = 16;

/// A tree of sums, 16 children to a node.
///
/// A sum is always computed from its children, never changed by a difference: no rounding error grows, and equal
/// weights give equal sums however they came about.
#[derive(Clone)]
pub struct Sums {
    levels: Vec<Vec<f64>>, // the weights, then sums of 16 of the level below each; the last level has one node
}

impl Sums {
    /// `n` weights of zero.
    pub fn new(n: usize) -> Self {
        let mut levels = vec![vec![0.0; n.max(1).next_multiple_of(WIDTH)]];
        while levels[levels.len() - 1].len() > WIDTH {
            let nodes = levels[levels.len() - 1].len() / WIDTH;
            levels.push(vec![0.0; nodes.next_multiple_of(WIDTH)]);
        }
        levels.push(vec![0.0; 1]);
        Self { levels }
    }

    /// A weight.
    #[inline]
    pub fn weight(&self, index: usize) -> f64 {
        self.levels[0][index]
    }

    /// The sum of all weights.
    #[inline]
    pub fn total(&self) -> f64 {
        self.levels[self.levels.len() - 1][0]
    }

    /// Change a weight, which must not be negative. O(16 log16 n).
    pub fn set(&mut self, index: usize, weight: f64) {
        self.levels[0][index] = weight;
        self.add_up(index, index + 1);
    }

    /// Give all weights of a range one value. O(range + 16 log16 n).
    pub fn fill(&mut self, start: usize, end: usize, weight: f64) {
        if start < end {
            self.levels[0][start..end].fill(weight);
            self.add_up(start, end);
        }
    }

    /// Compute the sums over a range anew.
    fn add_up(&mut self, mut start: usize, mut end: usize) {
        for level in 1..self.levels.len() {
            (start, end) = (start / WIDTH, end.div_ceil(WIDTH));
            let (below, above) = self.levels.split_at_mut(level);
            let children = below[level - 1].chunks_exact(WIDTH).skip(start);
            for (sum, children) in above[0][start..end].iter_mut().zip(children) {
                *sum = children.iter().sum();
            }
        }
    }

    /// The index where the running sum first exceeds the target, which is in `0 .. total`. O(16 log16 n).
    ///
    /// A weight of zero is never found, whatever the rounding, unless all are.
    #[inline]
    pub fn find(&self, mut target: f64) -> usize {
        let mut node = 0;
        for level in self.levels.iter().rev().skip(1) {
            let first = node * WIDTH;
            let mut last = first; // that is not zero: takes what rounding has left over
            node = usize::MAX;
            for (child, &sum) in level[first..first + WIDTH].iter().enumerate() {
                if target < sum {
                    node = first + child;
                    break;
                }
                target -= sum;
                last = if sum > 0.0 { first + child } else { last };
            }
            if node == usize::MAX {
                (node, target) = (last, f64::INFINITY);
            }
        }
        node
    }
}
