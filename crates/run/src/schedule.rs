//! Which step may start next: the part of the executor that knows neither time nor tasks.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::{Graph, StepStatus};

/// The states of a graph's steps.
#[derive(Debug)]
pub(crate) struct Schedule {
    statuses: Vec<StepStatus>,
    /// Predecessors that have not succeeded yet.
    waiting_for: Vec<usize>,
    /// Longest way below first: what many others wait for should not start last.
    ready: BTreeSet<(Reverse<usize>, usize)>,
    heights: Vec<usize>,
}

impl Schedule {
    /// `succeeded`: steps that need not run any more.
    pub(crate) fn new<T>(graph: &Graph<T>, succeeded: &[(usize, StepStatus)]) -> Self {
        let mut schedule = Self {
            statuses: vec![StepStatus::Waiting; graph.len()],
            waiting_for: (0..graph.len()).map(|i| graph.before(i).len()).collect(),
            ready: BTreeSet::new(),
            heights: graph.heights(),
        };
        for (index, status) in succeeded {
            schedule.statuses[*index] = *status;
            for next in graph.after(*index) {
                schedule.waiting_for[*next] -= 1;
            }
        }
        for index in 0..graph.len() {
            schedule.offer(index);
        }
        schedule
    }

    fn offer(&mut self, index: usize) {
        if self.waiting_for[index] == 0 && self.statuses[index] == StepStatus::Waiting {
            self.ready.insert((Reverse(self.heights[index]), index));
        }
    }

    /// The step to start now.
    pub(crate) fn start(&mut self) -> Option<usize> {
        let (_, index) = self.ready.pop_first()?;
        self.statuses[index] = StepStatus::Running;
        Some(index)
    }

    /// Notes how a running step ended, and gives the steps that will therefore never run.
    pub(crate) fn finish<T>(&mut self, graph: &Graph<T>, index: usize, status: StepStatus) -> Vec<usize> {
        debug_assert_eq!(self.statuses[index], StepStatus::Running, "only a running step can end");
        self.statuses[index] = status;
        if status.succeeded() {
            for next in graph.after(index) {
                self.waiting_for[*next] -= 1;
                self.offer(*next);
            }
            return Vec::new();
        }
        if status == StepStatus::Cancelled {
            return Vec::new();
        }
        self.skip_below(graph, index)
    }

    fn skip_below<T>(&mut self, graph: &Graph<T>, index: usize) -> Vec<usize> {
        let mut skipped = Vec::new();
        let mut stack = graph.after(index).to_vec();
        while let Some(next) = stack.pop() {
            if self.statuses[next] == StepStatus::Waiting {
                self.statuses[next] = StepStatus::Skipped;
                skipped.push(next);
                stack.extend_from_slice(graph.after(next));
            }
        }
        skipped.sort_unstable();
        skipped
    }

    /// Gives up all steps that have not started.
    pub(crate) fn cancel_waiting(&mut self) -> Vec<usize> {
        self.ready.clear();
        let waiting: Vec<usize> =
            (0..self.statuses.len()).filter(|i| self.statuses[*i] == StepStatus::Waiting).collect();
        for index in &waiting {
            self.statuses[*index] = StepStatus::Cancelled;
        }
        waiting
    }
}
