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
    /// Mean number of slots scanned.
    scanned: f64,
}

/// What a search does; see [`Tuning`].
#[derive(Clone, Copy)]
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
}

/// What the search for one trial found.
#[derive(Clone, Copy)]
struct Outcome {
    hits: usize,
    scanned: usize,
}

/// Outcomes of the first trials, with a setting that stops earlier and with one that stops later. Where both scanned as
/// much, so does what lies between, and finds the same.
#[derive(Clone, Copy, Default)]
struct Bracket<'a> {
    sooner: &'a [Outcome],
    later: &'a [Outcome],
}

impl Bracket<'_> {
    fn settled(&self, trial: usize) -> Option<Outcome> {
        let (sooner, later) = (self.sooner.get(trial)?, self.later.get(trial)?);
        (sooner.scanned == later.scanned).then_some(*later)
    }
}

/// A setting, and outcomes of the first trials with it.
type Chosen = (Setting, Vec<Outcome>);

/// Sums over trials.
#[derive(Default)]
struct Found {
    hits: usize,
    squares: usize,
    scanned: usize,
}

impl Found {
    fn of(outcomes: &[Outcome]) -> Found {
        outcomes.iter().fold(Found::default(), |sum, one| Found {
            hits: sum.hits + one.hits,
            squares: sum.squares + one.hits * one.hits,
            scanned: sum.scanned + one.scanned,
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
        let trials = self.trials(if lists > 1 { PARTS } else { 1 });
        // Under the dot product copies cannot be told: some are taken to be there.
        let strangeness = match self.options.metric {
            Metric::Dot => 2.0,
            _ => strangeness(&trials, n),
        };
        let goal = goal(self.options.recall, strangeness);
        let found = if lists > 1 {
            self.tune_lists(&trials, goal, lists, n)
        } else {
            let ladder: &[usize] = if graph { &BEAM } else { &REFINE };
            self.tune_flat(&trials, goal, ladder, n)
        };
        let helped = found.is_some();
        let recall = found.as_ref().map_or(1.0, |(setting, outcomes)| {
            let known = Bracket {
                sooner: outcomes,
                later: outcomes,
            };
            self.recall(&trials, *setting, None, known).0.recall
        });
        let setting = found.map_or(Setting::whole(lists.max(1), n), |found| found.0);
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
    fn recall(
        &self,
        trials: &[Trial],
        setting: Setting,
        goal: Option<f64>,
        known: Bracket<'_>,
    ) -> (Measured, Vec<Outcome>) {
        let mut outcomes = Vec::new();
        let mut total = Found::default();
        while outcomes.len() < trials.len()
            && (outcomes.is_empty()
                || !goal.is_some_and(|goal| total.is_plain(outcomes.len(), goal)))
        {
            let next = outcomes.len()..trials.len().min(FIRST.max(2 * outcomes.len()));
            outcomes.extend(self.find_all(trials, next, setting, known));
            total = Found::of(&outcomes);
        }
        let n = outcomes.len().max(1);
        let recall = total.recall(n);
        let measured = Measured {
            recall,
            bound: recall - QUANTILE * (total.variance(n) / n as f64).sqrt(),
            scanned: total.scanned as f64 / n as f64,
        };
        (measured, outcomes)
    }

    /// The outcomes of some trials that show that the goal is reached; or those that show that it is not.
    fn reaches(
        &self,
        trials: &[Trial],
        setting: Setting,
        goal: f64,
        known: Bracket<'_>,
    ) -> Result<Vec<Outcome>, Vec<Outcome>> {
        let (measured, outcomes) = self.recall(trials, setting, Some(goal), known);
        if measured.bound >= goal {
            Ok(outcomes)
        } else {
            Err(outcomes)
        }
    }

    /// Search for some trials, but for those whose outcome is known, in threads.
    fn find_all(
        &self,
        trials: &[Trial],
        which: Range<usize>,
        setting: Setting,
        known: Bracket<'_>,
    ) -> Vec<Outcome> {
        let open = which.clone().filter(|&i| known.settled(i).is_none());
        let open: Vec<&Trial> = open.map(|i| &trials[i]).collect();
        let share = open.len().div_ceil(self.options.threads).max(FEWEST);
        let mut found = std::thread::scope(|scope| {
            let mut parts = open.chunks(share);
            let here = parts.next().unwrap_or_default();
            let threads: Vec<_> = parts
                .map(|part| scope.spawn(move || self.find(part, setting)))
                .collect();
            let mut found = self.find(here, setting);
            for thread in threads {
                found.extend(thread.join().expect("a search does not panic"));
            }
            found.into_iter()
        });
        let outcome = |i| known.settled(i).or_else(|| found.next());
        which.filter_map(outcome).collect()
    }

    fn find(&self, trials: &[&Trial], setting: Setting) -> Vec<Outcome> {
        let mut scratch = Scratch::default();
        let outcome = |trial: &&Trial| {
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
            Outcome {
                hits,
                scanned: scratch.scanned,
            }
        };
        trials.iter().map(outcome).collect()
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

    fn tune_flat(&self, trials: &[Trial], goal: f64, ladder: &[usize], n: usize) -> Option<Chosen> {
        let reached = |&refine: &usize| {
            let setting = Setting::whole(1, refine);
            let outcomes = self.reaches(trials, setting, goal, Bracket::default());
            Some((setting, outcomes.ok()?))
        };
        let mut sizes = ladder.iter().take_while(|&refine| 4 * refine < n);
        sizes.find_map(reached)
    }

    /// The cheapest of the settings that reach the goal, by a count of what each step costs.
    fn tune_lists(&self, trials: &[Trial], goal: f64, lists: usize, n: usize) -> Option<Chosen> {
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
            if let Some((probes, measured)) = reached {
                most = probes;
                let list = 1.2 * measured.scanned / probes as f64 + 25.0;
                let cost = list * probes as f64 + refining(refine);
                if best.is_none_or(|(least, ..)| cost < least) {
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
        (cost < 1.2 * n as f64).then_some(found.unwrap_or((whole, Vec::new())))
    }

    /// A setting that stops early, with as many rows refined as in one that does not, or up to two sizes more: what few
    /// trials chose may be a little too low for all of them.
    fn mended_stop(
        &self,
        trials: &[Trial],
        goal: f64,
        lists: usize,
        n: usize,
        whole: Setting,
    ) -> Option<Chosen> {
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
        trials: &[Trial],
        goal: f64,
        lists: usize,
        setting: Setting,
    ) -> Option<Chosen> {
        let times =
            |probes: usize, factor: f64| lists.min((probes as f64 * factor).ceil() as usize);
        let between = (setting.probes as f64 / UNSURE) as usize..times(setting.probes, UNSURE);
        let (fewest, _) = self.probes_needed(trials, goal, setting.refine, between, FINE)?;
        let probes = times(fewest, SLACK);
        let with = |margin| Setting {
            probes,
            margin,
            ..setting
        };
        let all = self.reaches(trials, with(f32::INFINITY), goal, Bracket::default());
        let (mut sooner, mut later) = (Vec::new(), all.ok()?);
        let (mut low, mut high) = (-0.3, 0.1);
        let tried = |margin, sooner: &[Outcome], later: &[Outcome]| {
            self.reaches(trials, with(margin), goal, Bracket { sooner, later })
        };
        for _ in 0..8 {
            match tried(high, &sooner, &later) {
                Ok(outcomes) => {
                    later = outcomes;
                    break;
                }
                Err(outcomes) => (low, high, sooner) = (high, 2.0 * high, outcomes),
            }
        }
        while high - low > 0.003 {
            let middle = 0.5 * (low + high);
            match tried(middle, &sooner, &later) {
                Ok(outcomes) => (high, later) = (middle, outcomes),
                Err(outcomes) => (low, sooner) = (middle, outcomes),
            }
        }
        Some((with(high), later))
    }

    /// The fewest lists with which the goal is reached, to one part in `parts`: more than the range begins with, or as
    /// many as it ends with.
    fn probes_needed(
        &self,
        trials: &[Trial],
        goal: f64,
        refine: usize,
        between: Range<usize>,
        parts: usize,
    ) -> Option<(usize, Measured)> {
        let with = |probes| {
            let setting = Setting::whole(probes, refine);
            let (measured, _) = self.recall(trials, setting, Some(goal), Bracket::default());
            measured
        };
        let Range {
            start: mut low,
            end: mut high,
        } = between;
        if high == 0 {
            return None;
        }
        let mut reached = with(high);
        if reached.bound < goal {
            return None;
        }
        while high - low > (high / parts).max(1) {
            let middle = usize::midpoint(low, high);
            let measured = with(middle);
            if measured.bound >= goal {
                (high, reached) = (middle, measured);
            } else {
                low = middle;
            }
        }
        Some((high, reached))
    }
}

/// A part of the trials.
fn few(trials: &[Trial]) -> &[Trial] {
    &trials[..trials.len().div_ceil(PARTS)]
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
        let trials = shared.trials(PARTS);
        let state = shared.read();
        let (lists, n) = (
            state.lists.as_ref().expect("of 3,000").lists.len(),
            state.rows.alive(),
        );
        drop(state);
        let bound = |refine| {
            let setting = Setting::whole(lists, refine);
            shared
                .recall(&trials, setting, None, Bracket::default())
                .0
                .bound
        };
        let [few, more, most] = [40, 50, 60].map(bound);
        assert!(few < more && more < most, "{few} {more} {most}");
        let stop = |goal, refine| {
            shared.mended_stop(&trials, goal, lists, n, Setting::whole(lists, refine))
        };

        // What 40 rows cannot reach, 50 can.
        let goal = 0.5 * (few + more);
        assert!(
            shared
                .stop_early(&trials, goal, lists, Setting::whole(lists, 40))
                .is_none()
        );
        let (found, _) = stop(goal, 40).expect("50 rows reach it");
        assert!(found.refine == 50 && found.margin < f32::INFINITY);
        let (measured, _) = shared.recall(&trials, found, None, Bracket::default());
        assert!(measured.bound >= goal);

        // Where 40 rows reach it they are enough.
        let (found, _) = stop(0.5 * few, 40).expect("40 rows reach it");
        assert_eq!(found.refine, 40);

        // What no size of the three reaches is not reached by stopping early.
        assert!(stop(0.5 * (most + 1.0), 40).is_none());
    }

    #[test]
    fn fewer_lists_are_taken_where_they_suffice() {
        let store = blurred();
        let trials = store.shared.trials(PARTS);
        for needed in [1, 5, 6] {
            let setting = Setting::whole(needed, 40);
            let (found, _) = store
                .shared
                .stop_early(&trials, 0.0, 30, setting)
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
    fn what_both_ends_of_a_bracket_tell_is_what_a_search_between_them_finds() {
        let store = blurred();
        let shared = &store.shared;
        let trials = shared.trials(1);
        let outcomes = |margin, known| {
            let setting = Setting {
                margin,
                ..Setting::whole(12, 50)
            };
            shared.recall(&trials, setting, None, known).1
        };
        let told = |outcomes: &[Outcome]| -> Vec<_> {
            outcomes.iter().map(|one| (one.hits, one.scanned)).collect()
        };
        let [sooner, between, later] =
            [-0.05, 0.0, 0.05].map(|margin| outcomes(margin, Bracket::default()));
        let known = Bracket {
            sooner: &sooner,
            later: &later[..trials.len() - 3],
        };
        let settled = (0..trials.len()).filter(|&i| known.settled(i).is_some());
        assert!((1..trials.len() - 3).contains(&settled.count()));
        assert_eq!(told(&outcomes(0.0, known)), told(&between));
        assert_ne!(told(&sooner), told(&between));
        assert_ne!(told(&later), told(&between));
    }

    #[test]
    fn queries_are_the_stranger_the_more_copies_rows_have() {
        let trials = |copies: usize| {
            vec![
                Trial {
                    vector: Vec::new(),
                    copies: vec![0; 1 + copies],
                    least: 0.0,
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
