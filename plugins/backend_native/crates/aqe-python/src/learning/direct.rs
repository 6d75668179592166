//! `update` as CPython calls it: see [`Direct`].

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::{Borrowed, PyClass};

use super::given::Maybe;
use crate::direct::Direct;

/// The arguments of `update`.
pub(super) struct Step<'a, 'py> {
    pub state: &'a Bound<'py, PyAny>,
    pub action: &'a Bound<'py, PyAny>,
    pub reward: &'a Bound<'py, PyAny>,
    pub next_state: &'a Bound<'py, PyAny>,
    pub done: Maybe<'a, 'py>,
    pub next_action: Option<&'a Bound<'py, PyAny>>,
}

/// A class whose `update` learns from one transition.
pub(super) trait Updates: PyClass {
    /// Learn from plain arguments, and say what `update` says; `None` if they are not, and nothing was learned.
    fn update_plain<'py>(slf: &Bound<'py, Self>, step: &Step<'_, 'py>)
    -> Option<Bound<'py, PyAny>>;
}

impl<T: Updates> Direct for T {
    const METHOD: &'static str = "update";
    const GENERAL: &'static str = "_update_as_given";
    const NAMES: &'static [&'static str] = &[
        "state",
        "action",
        "reward",
        "next_state",
        "done",
        "next_action",
    ];

    #[inline(always)]
    fn plain<'py>(
        slf: &Bound<'py, Self>,
        values: &[Borrowed<'_, 'py, PyAny>],
    ) -> Option<Bound<'py, PyAny>> {
        let [state, action, reward, next_state, rest @ ..] = values else {
            return None;
        };
        let (done, next_action) = match rest {
            [] => (None, None),
            [done] => (Some(*done), None),
            [done, next_action, ..] => (Some(*done), Some(next_action)),
        };
        let step = Step {
            state,
            action,
            reward,
            next_state,
            done: Maybe(done),
            next_action: next_action
                .filter(|action| !action.is_none())
                .map(|action| &**action),
        };
        T::update_plain(slf, &step)
    }
}

/// Learn from given arguments, plain or not, and say what `update` says.
pub(super) fn update_given<'py, T: Updates>(
    slf: &Bound<'py, T>,
    step: &Step<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(told) = T::update_plain(slf, step) {
        return Ok(told);
    }
    let Step {
        state,
        action,
        reward,
        next_state,
        next_action,
        ..
    } = *step;
    let done = step.done.or_false(slf.py());
    let name = intern!(slf.py(), "_update_with_care");
    slf.as_any()
        .call_method1(name, (state, action, reward, next_state, done, next_action))
}
