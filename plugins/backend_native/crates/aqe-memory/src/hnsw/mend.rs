//! How rows that left get out of the graph.

use super::Graph;
use super::enter::{Change, Chooser};
use crate::level::Level;
use crate::rows::Rows;

/// Row numbers that are to leave the graph.
pub(crate) struct Gone(Vec<u64>);

impl Gone {
    pub fn new(rows: &[u32]) -> Gone {
        let most = rows.iter().max().map_or(0, |&row| row as usize + 1);
        let mut bits = vec![0; most.div_ceil(64)];
        for &row in rows {
            bits[row as usize / 64] |= 1 << (row % 64);
        }
        Gone(bits)
    }

    fn has(&self, row: u32) -> bool {
        self.0
            .get(row as usize / 64)
            .is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

impl Chooser {
    /// Links of a vertex that pass over those who left: to what they linked to. `None` if it links to none of them.
    pub(crate) fn mended(
        &mut self,
        level: Level,
        graph: &Graph,
        rows: &Rows,
        (at, row): (usize, u32),
        gone: &Gone,
    ) -> Option<Change> {
        let before = graph.links(at, row);
        if !before.iter().any(|&link| gone.has(link)) {
            return None;
        }
        let mut others: Vec<u32> = Vec::new();
        for &link in before {
            if gone.has(link) {
                others.extend(graph.links(at, link));
            } else {
                others.push(link);
            }
        }
        others.sort_unstable();
        others.dedup();
        others.retain(|&other| other != row && !gone.has(other));
        let links = self.best_of(level, graph, rows, (at, row), &others);
        Some(Change {
            level: at,
            row,
            links,
        })
    }
}
