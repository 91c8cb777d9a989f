//! Steps on threads of their own.
//!
//! A join of everything with everything does not let go of the threads that it runs on for minutes. Were those the threads
//! that renew leases and hear of cancelling, the run would lose its lease, and Ctrl-C would be of no use.

use std::sync::Arc;

use polder_run::{Fingerprint, Output, Step, StepContext, StepError, StepKey, StepReport};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// A step whose work is done on other threads than those that drive it.
struct Elsewhere {
    step: Arc<dyn Step>,
    workers: Handle,
}

/// The step, working on `workers` where there are such.
pub(crate) fn on_workers(step: Arc<dyn Step>, workers: Option<&Handle>) -> Arc<dyn Step> {
    match workers {
        Some(workers) => Arc::new(Elsewhere { step, workers: workers.clone() }),
        None => step,
    }
}

/// A task that ends when nobody waits for it any more, as soon as it lets go of its thread.
struct Stop(AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Elsewhere {
    async fn work<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StepError>> + Send + 'static,
    ) -> Result<T, StepError> {
        let task = self.workers.spawn(work);
        let _stop = Stop(task.abort_handle());
        match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StepError::Cancelled),
            },
        }
    }
}

#[async_trait::async_trait]
impl Step for Elsewhere {
    fn key(&self) -> &StepKey {
        self.step.key()
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        let step = Arc::clone(&self.step);
        self.work(async move { step.fingerprint().await }).await
    }

    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError> {
        let (step, output) = (Arc::clone(&self.step), output.clone());
        self.work(async move { step.adopt(&output).await }).await
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        // Statements hear of it that nobody waits for them any more.
        let cancel = cx.cancel.child_token();
        let (step, cx) = (Arc::clone(&self.step), StepContext { cancel: cancel.clone(), ..cx.clone() });
        let _stop = cancel.drop_guard();
        self.work(async move { step.run(&cx).await }).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use polder_run::StepKind;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Keeps its thread busy without ever waiting for anything.
    struct Busy(StepKey);

    #[async_trait::async_trait]
    impl Step for Busy {
        fn key(&self) -> &StepKey {
            &self.0
        }

        async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
            panic!("a defect")
        }

        async fn adopt(&self, _: &Output) -> Result<Option<StepReport>, StepError> {
            Ok(None)
        }

        async fn run(&self, _: &StepContext) -> Result<StepReport, StepError> {
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(3) {
                std::hint::spin_loop();
            }
            Ok(StepReport::default())
        }
    }

    #[test]
    fn a_busy_step_leaves_the_others_their_thread() {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let control = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let busy: Arc<dyn Step> = Arc::new(Busy(StepKey::new(StepKind::Model, "gold.busy")));
        let step = on_workers(busy, Some(workers.handle()));
        let cx = StepContext { cancel: CancellationToken::new(), progress: Arc::default(), attempt: 1 };
        let since = Instant::now();
        control.block_on(async {
            assert!(tokio::time::timeout(Duration::from_millis(100), step.run(&cx)).await.is_err());
        });
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        workers.shutdown_background();
    }

    #[test]
    fn a_panic_comes_back_to_who_drives_the_step() {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let control = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let step = on_workers(Arc::new(Busy(StepKey::new(StepKind::Model, "x"))), Some(workers.handle()));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| control.block_on(step.fingerprint())));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"a defect"));
    }
}
