use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use polder_run::{Event, Execution, Executor, ExecutorOptions, FailureKind, Graph, Step, StepKey, StepStatus};
use polder_system::{SimulatedSystem, System};
use tokio_util::sync::CancellationToken;

use crate::scripted::{Act, Memory, RUN, Scripted, World, graph, key, system};

const SEEDS: u64 = 300;

fn executor(system: &Arc<SimulatedSystem>, memory: &Arc<Memory>, concurrency: usize) -> Executor {
    let system: Arc<dyn System> = Arc::clone(system) as Arc<dyn System>;
    Executor {
        system,
        journal: Arc::clone(memory) as _,
        sink: Arc::clone(memory) as _,
        options: ExecutorOptions { concurrency, ..ExecutorOptions::default() },
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn one(act: Act, fingerprint: Option<&str>, world: &Arc<World>) -> Graph<Arc<dyn Step>> {
    let mut graph: Graph<Arc<dyn Step>> = Graph::new();
    let step = Scripted {
        key: key("only"),
        act,
        fingerprint: fingerprint.map(str::to_owned),
        yields: 1,
        world: Arc::clone(world),
    };
    graph.add(key("only"), Arc::new(step)).unwrap();
    graph
}

fn by_key(execution: &Execution) -> BTreeMap<StepKey, StepStatus> {
    execution.records.iter().map(|r| (r.step.clone(), r.status)).collect()
}

/// Starts come after the success of all that the step waits for.
fn assert_order(graph: &Graph<Arc<dyn Step>>, memory: &Memory) {
    let mut succeeded: Vec<StepKey> = Vec::new();
    for event in memory.events.lock().unwrap().iter() {
        match event {
            Event::StepStarted { step, .. } => {
                for before in graph.before(graph.index_of(step).unwrap()) {
                    assert!(succeeded.contains(graph.key(*before)), "{step} started before {}", graph.key(*before));
                }
            }
            Event::StepFinished { step, status, .. } if status.succeeded() => succeeded.push(step.clone()),
            _ => {}
        }
    }
}

#[test]
fn random_graphs_run_in_order_once_and_are_reported_once() {
    for seed in 0..SEEDS {
        let system = system(seed);
        let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
        let acts = [
            Act::Succeed,
            Act::Succeed,
            Act::Succeed,
            Act::Succeed,
            Act::Flaky(2),
            Act::CheckWarns,
            Act::Fail,
            Act::Panic,
            Act::CheckFails,
            Act::Flaky(9),
        ];
        let graph = graph(&system, &world, &acts);
        let concurrency = 1 + usize::try_from(system.random() % 5).unwrap();
        let executor = executor(&system, &memory, concurrency);
        let execution = block(executor.execute(RUN, &graph, &CancellationToken::new())).unwrap();

        let statuses = by_key(&execution);
        assert_eq!(statuses.len(), graph.len(), "seed {seed}");
        assert!(world.most_running.load(Ordering::SeqCst) <= concurrency, "seed {seed}");
        assert!(world.successes.lock().unwrap().values().all(|n| *n == 1), "seed {seed}: a step succeeded twice");
        for (step, told) in memory.finished() {
            assert_eq!(told, vec![statuses[&step]], "seed {seed}: {step}");
        }
        assert_eq!(memory.finished().len(), graph.len(), "seed {seed}: every step is reported");
        assert_order(&graph, &memory);
        for (index, (step, _)) in graph.iter().enumerate() {
            let blocked = graph.before(index).iter().any(|b| !statuses[graph.key(*b)].succeeded());
            assert_eq!(statuses[step] == StepStatus::Skipped, blocked, "seed {seed}: {step}");
            assert!(statuses[step].finished() && statuses[step] != StepStatus::Cancelled, "seed {seed}: {step}");
        }
    }
}

#[test]
fn a_cancel_ends_every_step_and_loses_no_success() {
    for seed in 0..SEEDS {
        let system = system(seed);
        let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
        let graph = graph(&system, &world, &[Act::Succeed, Act::Succeed, Act::Hang, Act::HangForever, Act::Fail]);
        let executor = executor(&system, &memory, 3);
        let cancel = CancellationToken::new();
        let yields = system.random() % 60;
        let execution = block(async {
            let stop = async {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                cancel.cancel();
            };
            tokio::join!(executor.execute(RUN, &graph, &cancel), stop).0.unwrap()
        });
        let statuses = by_key(&execution);
        assert_eq!(statuses.len(), graph.len(), "seed {seed}");
        assert!(statuses.values().all(|s| s.finished()), "seed {seed}");
        let successes = world.successes.lock().unwrap();
        for (step, status) in &statuses {
            assert_eq!(status.succeeded(), successes.contains_key(step), "seed {seed}: {step} is {status:?}");
        }
        assert_eq!(memory.finished().len(), graph.len(), "seed {seed}: every step is reported");
    }
}

#[test]
fn after_a_crash_only_what_was_not_recorded_runs() {
    for seed in 0..SEEDS {
        let system = system(seed);
        let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
        let graph = graph(&system, &world, &[Act::Succeed]);
        let executor = executor(&system, &memory, 3);
        let yields = system.random() % 60;
        let cancel = CancellationToken::new();
        block(async {
            tokio::select! {
                biased;
                () = async { for _ in 0..yields { tokio::task::yield_now().await; } } => {}
                _ = executor.execute(RUN, &graph, &cancel) => {}
            }
        });
        let recorded: Vec<StepKey> =
            memory.steps.lock().unwrap().values().filter(|r| r.status.succeeded()).map(|r| r.step.clone()).collect();
        world.tries.lock().unwrap().clear();
        memory.events.lock().unwrap().clear();

        let execution = block(executor.execute(RUN, &graph, &cancel)).unwrap();
        assert!(execution.succeeded() && execution.records.len() == graph.len(), "seed {seed}");
        let tries = world.tries.lock().unwrap();
        for (step, _) in graph.iter() {
            assert_eq!(tries.contains_key(step), !recorded.contains(step), "seed {seed}: {step}");
        }
        assert_eq!(memory.finished().len(), graph.len(), "seed {seed}: what was done before is told again");
        assert_order(&graph, &memory);
    }
}

#[test]
fn what_may_pass_is_tried_again_and_every_wait_is_told() {
    let system = system(1);
    let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
    let graph = one(Act::Flaky(2), None, &world);
    let execution = block(executor(&system, &memory, 1).execute(RUN, &graph, &CancellationToken::new())).unwrap();
    assert_eq!((execution.records[0].status, execution.records[0].attempt), (StepStatus::Done, 3));
    let waits: Vec<u64> = memory
        .events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|e| match e {
            Event::StepRetried { wait_ms, reason, .. } => {
                assert_eq!(reason, "the network went away");
                Some(*wait_ms)
            }
            _ => None,
        })
        .collect();
    assert!(matches!(waits[..], [500..=1000, 1000..=2000]), "{waits:?}");
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    for (act, kind, tries) in [
        (Act::Fail, FailureKind::Environment, 1),
        (Act::Flaky(9), FailureKind::Environment, 3),
        (Act::Panic, FailureKind::Defect, 1),
        (Act::CheckFails, FailureKind::Check, 1),
    ] {
        let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
        let graph = one(act, None, &world);
        let execution =
            block(executor(&system(1), &memory, 1).execute(RUN, &graph, &CancellationToken::new())).unwrap();
        let failures = execution.failures();
        assert_eq!((failures[0].1.kind, world.tries.lock().unwrap()[&key("only")]), (kind, tries), "{act:?}");
        assert!(!execution.succeeded());
    }
}

#[test]
fn a_step_that_takes_too_long_is_stopped() {
    let system = system(1);
    let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
    let graph = one(Act::HangForever, None, &world);
    let mut executor = executor(&system, &memory, 1);
    executor.options.timeout = Some(Duration::from_secs(90));
    let execution = block(executor.execute(RUN, &graph, &CancellationToken::new())).unwrap();
    let failure = execution.records[0].failure.as_ref().unwrap();
    assert_eq!((failure.message.as_str(), execution.records[0].attempt), ("no result after 90 s", 3));
}

#[test]
fn an_equal_step_is_taken_over() {
    let system = system(1);
    let (world, memory) = (Arc::new(World::default()), Arc::new(Memory::default()));
    let graph = one(Act::Succeed, Some("abc"), &world);
    let mut executor = executor(&system, &memory, 1);
    block(executor.execute(RUN, &graph, &CancellationToken::new())).unwrap();
    memory.steps.lock().unwrap().clear();
    let again = block(executor.execute(RUN, &graph, &CancellationToken::new())).unwrap();
    assert_eq!(again.records[0].status, StepStatus::Reused);
    assert_eq!(world.tries.lock().unwrap()[&key("only")], 1);

    memory.steps.lock().unwrap().clear();
    executor.options.reuse = false;
    let refreshed = block(executor.execute(RUN, &graph, &CancellationToken::new())).unwrap();
    assert_eq!(refreshed.records[0].status, StepStatus::Done);
    assert_eq!((world.tries.lock().unwrap()[&key("only")], world.adopted.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn a_journal_that_fails_stops_the_run() {
    let system = system(1);
    let world = Arc::new(World::default());
    let memory = Arc::new(Memory { fail_after: Some(1), ..Memory::default() });
    let graph = one(Act::Succeed, None, &world);
    let error = block(executor(&system, &memory, 1).execute(RUN, &graph, &CancellationToken::new())).unwrap_err();
    assert_eq!(error.to_string(), "the run's journal: disk full");
    assert!(memory.finished().is_empty(), "nothing is told that is not durable");
}
