//! What a store does beside the calls to keep its graph.

use super::enter::{Change, Chooser, Proposal, linked};
use super::mend::Gone;
use super::{GRAPH, Graph};
use crate::list::NO_ROW;
use crate::rows::NOWHERE;
use crate::state::{State, Tuning};
use crate::store::Shared;
use crate::tune::BEAM;

/// Rows entered together, at most, and the share of the graph that they are at most.
const BATCH: usize = 512;
const SHARE: usize = 50;

/// Vertices that are mended under one lock.
const MENDED: usize = 64;

/// Jobs from which they are divided among threads.
const DIVIDE_FROM: usize = 16;

/// So many rows that left are let be, beside a share of those there are.
const SLACK: usize = 64;

/// What is to be done about the graph of a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GraphTask {
    /// Begin one.
    Begin,
    /// Enter rows of the tail.
    Enter,
    /// Replace links to rows that left.
    Mend,
    /// Begin anew, as too many left.
    Renew,
}

impl State {
    /// What is to be done about the graph, of all that is or of what is due.
    pub(crate) fn graph_task(&self, all: bool, due: usize) -> Option<GraphTask> {
        let (alive, parked) = (self.rows.alive(), self.parked.len());
        let Some(graph) = &self.graph else {
            let grown = |learned_on| alive >= 2 * learned_on;
            let wanted = self.lists.as_ref().is_none_or(|l| grown(l.learned_on));
            return wanted.then_some(GraphTask::Begin);
        };
        if 2 * parked > alive + SLACK {
            return Some(GraphTask::Renew);
        }
        if 10 * parked > alive + 10 * SLACK || all && parked > 0 {
            return Some(GraphTask::Mend);
        }
        let tail = self.in_tail();
        let enter = tail >= due || tail > 0 && (all || graph.draining);
        enter.then_some(GraphTask::Enter)
    }

    /// Whether rows that left take so much room that they are not to be waited for. Lists that are being built take the
    /// place of the graph by themselves.
    pub(crate) fn is_overgrown(&self) -> bool {
        self.build.is_none() && 8 * self.parked.len() > self.rows.alive() + 16 * SLACK
    }

    /// Give the graph up, and the lists: all rows are in the tail then. O(rows).
    pub(crate) fn leave_index(&mut self) {
        if self.graph.is_none() && self.lists.is_none() {
            return;
        }
        self.drop_graph();
        self.lists = None;
        self.tuning.measured_on = 0; // until it is measured, every row is scored
        self.tail.clear();
        self.tail_first = 0;
        let living: Vec<u32> = self.rows.living().collect();
        for row in living {
            self.put_in_tail(row);
        }
    }

    /// Forget the graph; rows that were in it are nowhere then, and numbers that it named are free.
    pub(crate) fn drop_graph(&mut self) {
        if self.graph.take().is_some() {
            self.rows.reclaim(std::mem::take(&mut self.parked));
        }
    }
}

impl Shared {
    pub(crate) fn do_graph(&self, task: GraphTask) {
        match task {
            GraphTask::Begin | GraphTask::Renew => {
                let mut state = self.write();
                state.leave_index();
                state.graph = Some(Graph::new());
            }
            GraphTask::Enter => self.enter(),
            GraphTask::Mend => self.mend(),
        }
    }

    /// Measure recall. Of a graph what was found while rows changed is no reason to give it up: it is measured again,
    /// and kept at its widest if rows change on and on.
    pub(crate) fn tune_steadily(&self) -> bool {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let before = self.read().changes;
            if self.tune() {
                return true;
            }
            let state = self.read();
            if state.graph.is_none() || state.changes == before {
                return false;
            }
        }
        let mut state = self.write();
        let alive = state.rows.alive();
        state.tuning = Tuning {
            probes: 1,
            margin: f32::INFINITY,
            refine: BEAM[BEAM.len() - 1],
            recall: f64::NAN,
            measured_on: alive.max(1),
        };
        true
    }

    /// Enter a batch of rows.
    fn enter(&self) {
        let entered = self.admit(self.proposals());
        let back = linked(&entered);
        let changes: Vec<Change> = self.divided(&back, |(vertex, more), state, graph, chooser| {
            let level = self.options.level;
            Some(chooser.joined(level, graph, &state.rows, *vertex, more))
        });
        let mut state = self.write();
        let Some(graph) = &mut state.graph else {
            return;
        };
        graph.change(&changes);
        for proposal in &entered {
            state.leave_tail(proposal.row, proposal.from);
        }
        state.tidy();
        if state.in_tail() == 0
            && let Some(graph) = &mut state.graph
            && graph.draining
        {
            graph.draining = false;
            state.tuning.measured_on = 0;
        }
    }

    /// Choose links for a batch of rows.
    pub(crate) fn proposals(&self) -> Vec<Proposal> {
        let batch = {
            let mut state = self.write();
            state.watch();
            let size = state.graph.as_ref().map_or(0, Graph::len) / SHARE;
            let waiting = state.tail.iter().flat_map(|segment| segment.rows());
            let rows = waiting.filter(|&&row| row != NO_ROW);
            rows.take(size.clamp(1, BATCH)).copied().collect::<Vec<_>>()
        };
        self.divided(&batch, |row, state, graph, chooser| {
            let there = state.rows.is_alive(*row);
            let how = (self.options.level, self.options.seed);
            there.then(|| chooser.propose(how, graph, &state.rows, *row))
        })
    }

    /// Make rows vertices if they are still where they were; return those.
    pub(crate) fn admit(&self, mut proposals: Vec<Proposal>) -> Vec<Proposal> {
        let mut state = self.write();
        let touched = state.take_touched();
        let State { graph, rows, .. } = &mut *state;
        let Some(graph) = graph else {
            return Vec::new();
        };
        proposals.retain(|proposal| {
            let there = touched.binary_search(&proposal.row).is_err()
                && rows.places[proposal.row as usize] == [proposal.from, NOWHERE];
            if there && proposal.from != GRAPH {
                graph.admit(proposal.row, proposal.half, &proposal.links);
            }
            there && proposal.from != GRAPH
        });
        proposals
    }

    /// Replace all links to rows that left, and let their numbers be used again.
    fn mend(&self) {
        let (parked, living, layers) = {
            let state = self.read();
            let living: Vec<u32> = state.rows.living().collect();
            let Some(graph) = &state.graph else { return };
            let layers: Vec<Vec<u32>> = (1..=graph.layers.len())
                .map(|level| graph.rows_of(level))
                .collect();
            (state.parked.clone(), living, layers)
        };
        let gone = Gone::new(&parked);
        let upper = layers.iter().zip(1..);
        let upper = upper.flat_map(|(rows, level)| rows.iter().map(move |&row| (level, row)));
        let all: Vec<(usize, u32)> = living.iter().map(|&row| (0, row)).chain(upper).collect();
        for part in all.chunks(MENDED * self.options.threads) {
            let changes: Vec<Change> = self.divided(part, |vertex, state, graph, chooser| {
                let level = self.options.level;
                let there = graph.has(vertex.1);
                there
                    .then(|| chooser.mended(level, graph, &state.rows, *vertex, &gone))
                    .flatten()
            });
            if let Some(graph) = &mut self.write().graph {
                graph.change(&changes);
            }
        }
        let mut state = self.write();
        let State {
            graph,
            rows,
            parked: left,
            ..
        } = &mut *state;
        let Some(graph) = graph else { return };
        graph.forget(&parked, rows.living());
        left.drain(..parked.len());
        rows.reclaim(parked);
    }

    /// Do a job for each of some things, in several threads, and collect what comes of them in their order. Searches
    /// and changes run in between.
    fn divided<T: Sync, R: Send>(
        &self,
        jobs: &[T],
        job: impl Fn(&T, &State, &Graph, &mut Chooser) -> Option<R> + Sync,
    ) -> Vec<R> {
        let run = |jobs: &[T]| {
            let mut chooser = Chooser::default();
            let mut found = Vec::with_capacity(jobs.len());
            for each in jobs {
                let state = self.read();
                if let Some(graph) = &state.graph {
                    found.extend(job(each, &state, graph, &mut chooser));
                }
            }
            found
        };
        if jobs.len() < DIVIDE_FROM || self.options.threads <= 1 {
            return run(jobs);
        }
        let share = jobs.len().div_ceil(self.options.threads);
        std::thread::scope(|scope| {
            let threads: Vec<_> = jobs
                .chunks(share)
                .map(|jobs| scope.spawn(|| run(jobs)))
                .collect();
            let parts = threads.into_iter();
            parts
                .flat_map(|thread| thread.join().expect("choosing links does not panic"))
                .collect()
        })
    }
}
