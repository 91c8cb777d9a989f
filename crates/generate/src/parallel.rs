//! Work on many threads, results in order, memory bounded.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Calls `work` with each item on `threads` threads, and `sink` with the results one after another in the items' order.
/// No more results exist at once than threads: a thread waits for its turn before it takes the next item.
///
/// # Errors
/// The first error of `work` or `sink`; what has not begun by then is left out.
pub(crate) fn in_order<T, R, E>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, E> + Sync,
    sink: impl FnMut(R) -> Result<(), E> + Send,
) -> Result<(), E>
where
    T: Send,
    E: Send,
{
    let threads = threads.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.into_iter().enumerate());
    let turn = Turn { state: Mutex::new(State { next: 0, sink, error: None, over: false }), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let guard = StopOnPanic(&turn);
                loop {
                    let Some((index, item)) = lock(&queue).next() else { break };
                    if !turn.take(index, work(item)) {
                        break;
                    }
                }
                std::mem::forget(guard);
            });
        }
    });
    let state = turn.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.error.map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Turn<S, E> {
    state: Mutex<State<S, E>>,
    changed: Condvar,
}

struct State<S, E> {
    /// Whose result is taken next.
    next: usize,
    sink: S,
    error: Option<E>,
    over: bool,
}

impl<S, E> Turn<S, E> {
    /// Waits for the item's turn and hands its result on. `false`: something failed, stop.
    fn take<R>(&self, index: usize, result: Result<R, E>) -> bool
    where
        S: FnMut(R) -> Result<(), E>,
    {
        let mut state = lock(&self.state);
        while state.next != index && !state.over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.over {
            return false;
        }
        state.next += 1;
        if let Err(error) = result.and_then(|r| (state.sink)(r)) {
            state.error = Some(error);
            state.over = true;
        }
        self.changed.notify_all();
        !state.over
    }

    fn stop(&self) {
        lock(&self.state).over = true;
        self.changed.notify_all();
    }
}

/// A thread that panics never takes its turn: the others must not wait for it.
struct StopOnPanic<'a, S, E>(&'a Turn<S, E>);

impl<S, E> Drop for StopOnPanic<'_, S, E> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let mut got = Vec::new();
        let work = |i: u64| {
            std::thread::sleep(std::time::Duration::from_micros((i * 7919) % 500));
            Ok::<_, String>(i)
        };
        in_order(4, (0..200).collect(), work, |i| {
            got.push(i);
            Ok(())
        })
        .unwrap();
        assert_eq!(got, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut got = Vec::new();
        let work = |i: u64| if i == 5 { Err("five".to_owned()) } else { Ok(i) };
        let result = in_order(3, (0..100).collect(), work, |i| {
            got.push(i);
            Ok(())
        });
        assert_eq!((result, got), (Err("five".to_owned()), (0..5).collect::<Vec<_>>()));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_stops_the_rest() {
        let caught = std::panic::catch_unwind(|| {
            let work = |i: u64| if i == 3 { panic!("three") } else { Ok::<_, String>(i) };
            in_order(3, (0..100).collect(), work, |_| Ok(()))
        });
        assert!(caught.is_err());
    }
}
