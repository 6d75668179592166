//! The store measures its own recall, and chooses how much a search does.

mod trials;

use std::ops::Range;

use trials::Trial;

use crate::Metric;
use crate::search::{Effort, Scratch};
use crate::state::Tuning;
use crate::store::Shared;

/// Recall is measured at this k.
const K: usize = 10;

const REFINE: [usize; 16] = [
    20, 25, 30, 40, 50, 60, 80, 100, 140, 200, 300, 450, 700, 1000, 1500, 2200,
];

/// Rows that a walk through the graph keeps. Where more are needed a scan of all codes is faster.
pub(crate) const BEAM: [usize; 15] = [
    16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 100, 140, 200, 300, 450,
];

/// One-sided 95 % quantile of the normal distribution.
const QUANTILE: f64 = 1.64;

/// Neighbours that count as copies by chance alone, where rows are spread over 18 dimensions, as embeddings of code are.
const BY_CHANCE: f64 = 3.5;

/// At most so many times as much is a query expected to miss as a row without its copies.
const MOST: f64 = 3.0;

/// Rows from which a row's variants hide each other, and the power of the number of rows by which more is missed.
const LARGE: f64 = 100_000.0;

/// See `LARGE`. Of a million rows, of which 39 in 40 were mixed, queries missed 3.3 times as much as trials.
const GROWTH: f64 = 0.37;

/// How many times as many lists a search may scan that stops early, as one that never does and finds as much. The
/// more, the fewer lists suffice on the average, the longer the longest searches take, and the more queries miss beyond
/// what trials do, whose neighbours are nearer.
const SLACK: f64 = 1.1;

/// Lists that few trials needed are up to so many times too few, or too many, for all of them.
const UNSURE: f64 = 1.2;

/// The fewest lists are found to one part in so many: by few trials roughly, by all of them more exactly.
const ROUGH: usize = 16;
const FINE: usize = 48;

/// Of settings whose costs differ by less than one part in so many, which is as much as chance does, the one that refines
/// fewer rows is taken.
const ALIKE: f64 = 100.0;

/// The share of the ten nearest that scores by planes take for others.
const CONFUSED: f64 = 0.001;

/// Settings are chosen by a part of the trials, what stops a search early by all.
const PARTS: usize = 2;

/// Of those, at first so many are searched for, then twice as many and so on, until it is plain what the rest would say.
const FIRST: usize = 128;

/// Trials that a thread is worth.
const FEWEST: usize = 16;

/// Standard errors of the recall from which the goal is plainly reached or missed.
const PLAIN: f64 = 3.0;

/// What searches of the trials found.
#[derive(Clone, Copy)]
struct Measured {
    recall: f64,
    /// What recall is above of with 95 % confidence, as far as the trials are like queries.
    bound: f64,
}

/// What a search does; see [`Tuning`].
#[derive(Clone, Copy, PartialEq)]
struct Setting {
    probes: usize,
    margin: f32,
    refine: usize,
}

impl Setting {
    /// Without stopping early.
    fn whole(probes: usize, refine: usize) -> Setting {
        Setting {
            probes,
            margin: f32::INFINITY,
            refine,
        }
    }

    /// Whether it does all that another does, and scans no more than a quarter more lists: the more it does, the more
    /// rows stand for as many places.
    fn covers(self, other: Setting) -> bool {
        let lists = other.probes..=other.probes + other.probes / 4;
        lists.contains(&self.probes) && other.margin <= self.margin && other.refine <= self.refine
    }
}

/// Sums over trials.
#[derive(Default)]
struct Found {
    hits: usize,
    squares: usize,
}

impl Found {
    fn of(hits: impl Iterator<Item = usize>) -> Found {
        hits.fold(Found::default(), |sum, hits| Found {
            hits: sum.hits + hits,
            squares: sum.squares + hits * hits,
        })
    }

    fn recall(&self, n: usize) -> f64 {
        self.hits as f64 / (n * K) as f64
    }

    /// The variance of the share found, from one of n trials to the next. Hits of one trial are alike, so that trials are
    /// counted, not hits.
    fn variance(&self, n: usize) -> f64 {
        let recall = self.recall(n);
        (self.squares as f64 / (K * K) as f64 / n as f64 - recall * recall).max(0.0)
    }

    /// Whether the trials after the first n will hardly change that the goal is reached, or missed.
    fn is_plain(&self, n: usize, goal: f64) -> bool {
        // Where nothing was missed yet the variance tells nothing.
        let variance = self.variance(n).max(goal * (1.0 - goal) / K as f64);
        (self.recall(n) - goal).abs() > PLAIN * (variance / n as f64).sqrt()
    }
}

impl Shared {
    /// Measure recall on the store's own rows, and set the tuning. False if lists are no better than one list of all.
    pub(crate) fn tune(&self) -> bool {
        let (n, lists, graph) = {
            let state = self.read();
            (
                state.rows.alive(),
                state.lists.as_ref().map_or(0, |lists| lists.lists.len()),
                state.graph.is_some(),
            )
        };
        let trials = &mut self.trials(if lists > 1 { PARTS } else { 1 });
        // Under the dot product copies cannot be told: some are taken to be there.
        let strangeness = match self.options.metric {
            Metric::Dot => 2.0,
            _ => strangeness(trials, n),
        };
        let goal = goal(self.options.recall, strangeness);
        let found = if lists > 1 {
            self.tune_lists(trials, goal, lists, n)
        } else {
            let ladder: &[usize] = if graph { &BEAM } else { &REFINE };
            self.tune_flat(trials, goal, ladder, n)
        };
        let helped = found.is_some();
        // What is told is what this very setting finds.
        trials.iter_mut().for_each(|trial| trial.known.clear());
        let recall = found.map_or(1.0, |setting| self.recall(trials, setting, None).recall);
        let setting = found.unwrap_or(Setting::whole(lists.max(1), n.max(1)));
        let mut state = self.write();
        state.tuning = Tuning {
            probes: setting.probes,
            margin: setting.margin,
            refine: setting.refine,
            recall,
            measured_on: n.max(1),
        };
        helped || lists <= 1 && !graph
    }

    /// Search for the neighbours of the trials; with a goal, of as many as it takes to tell whether it is reached.
    fn recall(&self, trials: &mut [Trial], setting: Setting, goal: Option<f64>) -> Measured {
        let (mut n, mut total) = (0, Found::default());
        while n < trials.len() && (n == 0 || !goal.is_some_and(|goal| total.is_plain(n, goal))) {
            let next = trials.len().min(FIRST.max(2 * n));
            let open = trials[n..next].iter_mut();
            let open = open.filter(|trial| trial.hits(setting).is_none());
            self.find_all(open.collect(), setting);
            n = next;
            total = Found::of(trials[..n].iter().filter_map(|trial| trial.hits(setting)));
        }
        let n = n.max(1);
        let recall = total.recall(n);
        Measured {
            recall,
            bound: recall - QUANTILE * (total.variance(n) / n as f64).sqrt(),
        }
    }

    fn reaches(&self, trials: &mut [Trial], setting: Setting, goal: f64) -> bool {
        self.recall(trials, setting, Some(goal)).bound >= goal
    }

    /// The mean number of slots that a search scans, by the first trials.
    fn scanned(&self, trials: &mut [Trial], setting: Setting) -> f64 {
        let n = trials.len().min(FIRST);
        let first = trials.iter_mut().take(n);
        self.find_all(first.collect(), setting) as f64 / n as f64
    }

    /// Search for some trials, in threads. Returns how many slots all searches together scanned.
    fn find_all(&self, mut trials: Vec<&mut Trial>, setting: Setting) -> usize {
        let share = trials.len().div_ceil(self.options.threads).max(FEWEST);
        std::thread::scope(|scope| {
            let mut parts = trials.chunks_mut(share);
            let here = parts.next().unwrap_or_default();
            let threads: Vec<_> = parts
                .map(|part| scope.spawn(move || self.find(part, setting)))
                .collect();
            let here = self.find(here, setting);
            let there = threads.into_iter();
            let there = there.map(|thread| thread.join().expect("a search does not panic"));
            here + there.sum::<usize>()
        })
    }

    fn find(&self, trials: &mut [&mut Trial], setting: Setting) -> usize {
        let (mut scratch, mut scanned) = (Scratch::default(), 0);
        for trial in trials {
            // Copies take places, each up to two in lists, that a query without them has for others.
            let k = K + trial.copies.len();
            scratch.copies.clone_from(&trial.copies);
            let places = if self.bar(trial, &mut scratch) { 1 } else { 2 };
            let effort = Effort::Probe {
                probes: setting.probes,
                margin: setting.margin,
                rank: K,
                refine: setting.refine + places * (trial.copies.len() - 1),
            };
            self.try_search(&trial.vector, k, effort, &mut scratch);
            let hits = scratch.top.iter();
            let hits = hits
                .filter(|hit| hit.0 >= trial.least && !trial.copies.contains(&hit.1))
                .count()
                .min(K);
            trial.known.push((setting, hits));
            scanned += scratch.scanned;
        }
        scanned
    }

    /// Keep a walk through the graph from the trial's own vertex: its links are what is looked for, and a query has no
    /// vertex. False if there is no graph.
    fn bar(&self, trial: &Trial, scratch: &mut Scratch) -> bool {
        let state = self.read();
        scratch.beam.barred = None;
        let Some(graph) = &state.graph else {
            return false;
        };
        let own = state.rows.map.get(trial.copies[0], &state.rows.keys);
        scratch.beam.barred = own.filter(|&row| graph.has(row));
        true
    }

    fn tune_flat(
        &self,
        trials: &mut [Trial],
        goal: f64,
        ladder: &[usize],
        n: usize,
    ) -> Option<Setting> {
        let sizes = ladder.iter().take_while(|&refine| 4 * refine < n);
        let mut settings = sizes.map(|&refine| Setting::whole(1, refine));
        settings.find(|&setting| self.reaches(trials, setting, goal))
    }

    /// The cheapest of the settings that reach the goal, by a count of what each step costs.
    fn tune_lists(
        &self,
        trials: &mut [Trial],
        goal: f64,
        lists: usize,
        n: usize,
    ) -> Option<Setting> {
        // In nanoseconds, roughly; only the proportions matter.
        let refining = |refine: usize| 30.0 * refine as f64;
        let mut best: Option<(f64, f64, Setting)> = None; // what it costs, what one of its lists does
        let mut rises = 0;
        let mut most = lists / 2; // that were needed with fewer rows
        for refine in REFINE.into_iter().take_while(|refine| 4 * refine < n) {
            // With more lists it would be dearer than the best.
            let worth = best.map_or(most, |(least, list, _)| {
                most.min(((least - refining(refine)) / list) as usize)
            });
            let reached = self.probes_needed(few(trials), goal, refine, 0..worth, ROUGH);
            if let Some(probes) = reached {
                most = probes;
                let scanned = self.scanned(trials, Setting::whole(probes, refine));
                let list = 1.2 * scanned / probes as f64 + 25.0;
                let cost = list * probes as f64 + refining(refine);
                if best.is_none_or(|(least, ..)| is_cheaper(cost, least)) {
                    best = Some((cost, list, Setting::whole(probes, refine)));
                    rises = 0;
                    continue;
                }
            }
            // The more rows are refined the fewer lists are saved: what rises twice rises on.
            rises += usize::from(best.is_some());
            if rises == 2 {
                break;
            }
        }
        let (cost, _, whole) = best?;
        // Under the dot product long rows are near to all queries, wherever their lists are: no list is too far.
        let found = match self.options.metric {
            Metric::Dot => None,
            _ => self.mended_stop(trials, goal, lists, n, whole),
        };
        (cost < 1.2 * n as f64).then_some(found.unwrap_or(whole))
    }

    /// A setting that stops early, with as many rows refined as in one that does not, or up to two sizes more: what few
    /// trials chose may be a little too low for all of them.
    fn mended_stop(
        &self,
        trials: &mut [Trial],
        goal: f64,
        lists: usize,
        n: usize,
        whole: Setting,
    ) -> Option<Setting> {
        const SIZES: usize = 3;
        REFINE
            .into_iter()
            .filter(|&refine| whole.refine <= refine && 4 * refine < n)
            .take(SIZES)
            .find_map(|refine| self.stop_early(trials, goal, lists, Setting { refine, ..whole }))
    }

    /// Of a setting with so many lists, one that stops early where it may and scans more where it has to.
    fn stop_early(
        &self,
        trials: &mut [Trial],
        goal: f64,
        lists: usize,
        setting: Setting,
    ) -> Option<Setting> {
        let times =
            |probes: usize, factor: f64| lists.min((probes as f64 * factor).ceil() as usize);
        let between = (setting.probes as f64 / UNSURE) as usize..times(setting.probes, UNSURE);
        let fewest = self.probes_needed(trials, goal, setting.refine, between, FINE)?;
        let probes = times(fewest, SLACK);
        let with = |margin| Setting {
            probes,
            margin,
            ..setting
        };
        if !self.reaches(trials, with(f32::INFINITY), goal) {
            return None;
        }
        let (mut low, mut high) = (-0.3, 0.1);
        for _ in 0..8 {
            // What stops sooner goes first: the trials that it finds all of are not searched for again.
            let most = high;
            while high - low > 0.003 {
                let middle = 0.5 * (low + high);
                if self.reaches(trials, with(middle), goal) {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            if high < most || self.reaches(trials, with(most), goal) {
                break;
            }
            (low, high) = (most, 2.0 * most);
        }
        Some(with(high))
    }

    /// The fewest lists with which the goal is reached, to one part in `parts`: more than the range begins with, or as
    /// many as it ends with.
    fn probes_needed(
        &self,
        trials: &mut [Trial],
        goal: f64,
        refine: usize,
        between: Range<usize>,
        parts: usize,
    ) -> Option<usize> {
        let mut reaches = |probes| self.reaches(trials, Setting::whole(probes, refine), goal);
        let Range {
            start: mut low,
            end: mut high,
        } = between;
        if high == 0 || !reaches(high) {
            return None;
        }
        while high - low > (high / parts).max(1) {
            let middle = usize::midpoint(low, high);
            if reaches(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}

/// Whether a setting is cheaper than one that refines fewer rows by more than chance.
fn is_cheaper(cost: f64, least: f64) -> bool {
    cost < least - least / ALIKE
}

/// A part of the trials.
fn few(trials: &mut [Trial]) -> &mut [Trial] {
    let few = trials.len().div_ceil(PARTS);
    &mut trials[..few]
}

/// The recall wanted on trials for a recall wanted on queries.
///
/// What is missed last is farther from a query than from a row: of data as above queries missed 0.95 times as much as
/// trials where 0.95 was found, 0.8 to 1.3 times where 0.99 was; where rows are made of each other (three times as many
/// copies as chance explains) 2 and 2.4 to 3 times. So what may be missed is divided by a power of `strangeness`, which
/// grows from 2/3 at 0.95 to 11/15 at 0.99, and by 1.15 more there. Before that what scores of ten bits confuse is taken
/// off: trials are told what is near by the same scores.
fn goal(recall: f64, strangeness: f64) -> f64 {
    let missed = 1.0 - recall;
    let far = ((0.05 / missed).ln() / 5f64.ln()).clamp(0.0, 1.0);
    let missed = missed - CONFUSED.min(0.1 * missed);
    1.0 - missed / (strangeness.powf((10.0 + far) / 15.0) * 1.15f64.powf(far))
}

/// How many times as much a query may miss as a row without its copies.
///
/// Where rows are made of each other, or are variants of few texts, there are more copies than chance explains, and what
/// is left around such a row is still nearer than what is around a query: it misses more, about in proportion. In a large
/// store the 50 neighbours by which copies are told are variants themselves: there it misses more than copies tell.
fn strangeness(trials: &[Trial], n: usize) -> f64 {
    let copies: usize = trials.iter().map(|trial| trial.copies.len() - 1).sum();
    let told = (copies as f64 / trials.len().max(1) as f64 / BY_CHANCE).clamp(1.0, MOST);
    1.0 + (told - 1.0) * (n as f64 / LARGE).max(1.0).powf(GROWTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::{Index, Keep, Level, Options, Store};

    #[test]
    fn the_goal_is_the_stricter_the_more_is_to_be_found() {
        assert!((goal(0.9, 1.0) - (1.0 - 0.099)).abs() < 1e-9);
        assert!((goal(0.95, 1.0) - (1.0 - 0.049)).abs() < 1e-9);
        assert!((goal(0.99, 1.0) - (1.0 - 0.009 / 1.15)).abs() < 1e-9);
        assert!((goal(0.95, 3.0) - (1.0 - 0.049 / 9f64.cbrt())).abs() < 1e-9);
        let power = 11.0 / 15.0;
        assert!((goal(0.99, 3.0) - (1.0 - 0.009 / (1.15 * 3f64.powf(power)))).abs() < 1e-9);
        assert!((goal(0.999, 3.0) - (1.0 - 0.0009 / (1.15 * 3f64.powf(power)))).abs() < 1e-9);
    }

    /// A store whose lists are blurred, so that it takes many refined rows to find the best.
    fn blurred() -> Store {
        const DIM: usize = 64;
        let mut random = Random::new(5);
        let mut value = || random.below(1000) as f32 / 500.0 - 1.0;
        let rows: Vec<f32> = (0..3000 * DIM)
            .map(|i| value() + if i / DIM % 20 == i % DIM { 2.0 } else { 0.0 })
            .collect();
        let store = Store::new(Options {
            dim: DIM,
            metric: Metric::Cosine,
            index: Index::Lists,
            keep: Keep::Planes,
            recall: 0.7,
            seed: 1,
            threads: 1,
            background: false,
            level: Level::best(),
        });
        store.add(&(0..3000).collect::<Vec<u64>>(), &rows);
        store
    }

    #[test]
    fn where_too_few_rows_are_refined_to_stop_early_more_are() {
        let store = blurred();
        let shared = &store.shared;
        let trials = &mut shared.trials(PARTS);
        let state = shared.read();
        let (lists, n) = (
            state.lists.as_ref().expect("of 3,000").lists.len(),
            state.rows.alive(),
        );
        drop(state);
        let bound = |refine| {
            let setting = Setting::whole(lists, refine);
            shared.recall(trials, setting, None).bound
        };
        let [few, more, most] = [40, 50, 60].map(bound);
        assert!(few < more && more < most, "{few} {more} {most}");
        let stop = |trials: &mut [Trial], goal, refine| {
            shared.mended_stop(trials, goal, lists, n, Setting::whole(lists, refine))
        };

        // What 40 rows cannot reach, 50 can.
        let goal = 0.5 * (few + more);
        assert!(
            shared
                .stop_early(trials, goal, lists, Setting::whole(lists, 40))
                .is_none()
        );
        let found = stop(trials, goal, 40).expect("50 rows reach it");
        assert!(found.refine == 50 && found.margin < f32::INFINITY);
        assert!(shared.recall(trials, found, None).bound >= goal);

        // Where 40 rows reach it they are enough.
        let found = stop(trials, 0.5 * few, 40).expect("40 rows reach it");
        assert_eq!(found.refine, 40);

        // What no size of the three reaches is not reached by stopping early.
        assert!(stop(trials, 0.5 * (most + 1.0), 40).is_none());
    }

    #[test]
    fn fewer_lists_are_taken_where_they_suffice() {
        let store = blurred();
        let trials = &mut store.shared.trials(PARTS);
        for needed in [1, 5, 6] {
            let setting = Setting::whole(needed, 40);
            let found = store
                .shared
                .stop_early(trials, 0.0, 30, setting)
                .expect("all");
            // One more than a fifth less than few trials needed, and a tenth more than that.
            let fewest = (needed as f64 / UNSURE) as usize + 1;
            assert_eq!(
                found.probes,
                (fewest as f64 * SLACK).ceil() as usize,
                "{needed}"
            );
        }
    }

    #[test]
    fn what_found_all_is_not_searched_for_again_where_more_is_done() {
        let store = blurred();
        let shared = &store.shared;
        let trials = &mut shared.trials(1);
        let (little, more) = (Setting::whole(10, 50), Setting::whole(12, 60));
        let alone = shared.recall(&mut trials.clone(), more, None).recall;
        shared.recall(trials, little, None);
        let found = |trial: &Trial| trial.known[0] == (little, K);
        let all = trials.iter().filter(|trial| found(trial)).count();
        assert!((10..trials.len() - 10).contains(&all), "{all}");

        let recall = shared.recall(trials, more, None).recall;
        for trial in &*trials {
            assert_eq!(trial.known.len(), if found(trial) { 1 } else { 2 });
        }
        assert!((recall - alone).abs() < 0.01, "{recall} {alone}");

        // The others were searched for with just this: they are not searched for again.
        assert_eq!(shared.recall(trials, more, None).recall, recall);
        assert!(trials.iter().all(|trial| trial.known.len() <= 2));
    }

    #[test]
    fn more_lists_are_more_slots() {
        let store = blurred();
        let trials = &mut store.shared.trials(1);
        let [few, more, again] =
            [5, 20, 5].map(|probes| store.shared.scanned(trials, Setting::whole(probes, 50)));
        assert!(3.0 * few < more && more < 5.0 * few, "{few} {more}");
        assert_eq!(few, again);
    }

    #[test]
    fn of_settings_that_cost_the_same_the_first_is_taken() {
        assert!(is_cheaper(98.5, 100.0));
        assert!(!is_cheaper(99.5, 100.0));
    }

    #[test]
    fn queries_are_the_stranger_the_more_copies_rows_have() {
        let trials = |copies: usize| {
            vec![
                Trial {
                    vector: Vec::new(),
                    copies: vec![0; 1 + copies],
                    least: 0.0,
                    known: Vec::new(),
                };
                4
            ]
        };
        for n in [0, 5000, 100_000, 1_000_000] {
            assert_eq!(strangeness(&[], n), 1.0);
            assert_eq!(strangeness(&trials(3), n), 1.0);
        }
        assert_eq!(strangeness(&trials(7), 100_000), 2.0);
        assert_eq!(strangeness(&trials(40), 100_000), 3.0);
        assert!((strangeness(&trials(40), 1_000_000) - 5.69).abs() < 0.01);
    }
}
