//! Who works on a run: leases, claims, and the numbers of runs.

use std::time::Duration;

use bytes::Bytes;
use polder_base::{RunId, TableName, Timestamp};
use polder_store::{Batch, Key, Outcome, Space};
use serde::{Deserialize, Serialize};

use crate::commit::ATTEMPTS;
use crate::records::{decode_record, encode_record};
use crate::{Catalog, CatalogError, Result};

/// The right to write a run's state, until `expires`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub run: RunId,
    /// The process: random.
    pub holder: u64,
    /// Random, by acquisition.
    pub term: u64,
    pub expires: Timestamp,
}

/// Whose a run is. Renewing does not change it, so that transactions may expect it while the lease is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseRecord {
    run: RunId,
    holder: u64,
    term: u64,
}

pub(crate) const RUN_COUNTER: &str = "runs";
const PAGE: usize = 1000;

/// A reservation of a table on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ClaimRecord {
    run: RunId,
}

fn lease_key(run: RunId) -> Key {
    format!("{:020}", run.0)
}

/// Until when a lease holds.
fn expiry_key(run: RunId) -> Key {
    format!("{}/until", lease_key(run))
}

fn claim_key(target: &str, table: &TableName) -> Key {
    format!("{target}\0{table}")
}

impl Lease {
    /// Makes a transaction hold only while nobody took the run over.
    ///
    /// # Errors
    /// None in practice: the record always becomes JSON.
    pub fn expect(&self, batch: Batch) -> Result<Batch> {
        Ok(batch.expect(Space::Leases, lease_key(self.run), Some(encode_record(&self.record())?)))
    }

    fn record(&self) -> LeaseRecord {
        LeaseRecord { run: self.run, holder: self.holder, term: self.term }
    }
}

/// A lease's two records as they were read.
#[derive(Debug, Default)]
struct FoundLease {
    record: Option<(LeaseRecord, Bytes)>,
    until: Option<(Timestamp, Bytes)>,
}

impl FoundLease {
    /// Until when somebody works on the run.
    fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.record.as_ref()?;
        self.until.as_ref().map(|(until, _)| *until).filter(|until| *until > now)
    }

    /// Makes a transaction hold only while both records are as they were read.
    fn expect(&self, batch: Batch, run: RunId) -> Batch {
        batch.expect(Space::Leases, lease_key(run), self.record.as_ref().map(|(_, raw)| raw.clone())).expect(
            Space::Leases,
            expiry_key(run),
            self.until.as_ref().map(|(_, raw)| raw.clone()),
        )
    }
}

impl Catalog {
    /// The number of the next run.
    pub async fn next_run(&self) -> Result<RunId> {
        for attempt in 1..=ATTEMPTS {
            let raw = self.state().get(Space::Meta, RUN_COUNTER).await?;
            let last: u64 = raw.as_deref().map_or(Ok(0), |raw| decode_record("runs", raw))?;
            let next = RunId(last + 1);
            let batch =
                Batch::new().expect(Space::Meta, RUN_COUNTER, raw).put(Space::Meta, RUN_COUNTER, encode_record(&next)?);
            if self.state().apply(batch).await? == Outcome::Applied {
                return Ok(next);
            }
            self.back_off(attempt).await;
        }
        Err(CatalogError::Contended { name: "the counter of runs".to_owned(), attempts: ATTEMPTS })
    }

    /// The number that was given last; 0: none was.
    pub async fn last_run(&self) -> Result<u64> {
        let raw = self.state().get(Space::Meta, RUN_COUNTER).await?;
        raw.as_deref().map_or(Ok(0), |raw| decode_record("runs", raw))
    }

    // ---- leases ----

    async fn find_lease(&self, run: RunId) -> Result<FoundLease> {
        let what = format!("lease of run {run}");
        let mut found = FoundLease::default();
        if let Some(raw) = self.state().get(Space::Leases, &lease_key(run)).await? {
            found.record = Some((decode_record(&what, &raw)?, raw));
        }
        if let Some(raw) = self.state().get(Space::Leases, &expiry_key(run)).await? {
            found.until = Some((decode_record(&what, &raw)?, raw));
        }
        Ok(found)
    }

    /// Whether somebody works on a run now.
    pub async fn is_leased(&self, run: RunId) -> Result<bool> {
        Ok(self.find_lease(run).await?.held_until(self.system().now()).is_some())
    }

    /// Makes a transaction hold only while nobody works on a run; `None`: somebody does.
    pub(crate) async fn expect_unleased(&self, batch: Batch, run: RunId) -> Result<Option<Batch>> {
        let found = self.find_lease(run).await?;
        Ok(if found.held_until(self.system().now()).is_some() { None } else { Some(found.expect(batch, run)) })
    }

    /// Takes the lease of a run, or refuses while it is held, by this process or another.
    ///
    /// # Errors
    /// `LeaseHeld` naming the time until which somebody has it.
    pub async fn acquire_lease(&self, run: RunId, ttl: Duration) -> Result<Lease> {
        for attempt in 1..=ATTEMPTS {
            let found = self.find_lease(run).await?;
            let now = self.system().now();
            if let Some(until) = found.held_until(now) {
                return Err(CatalogError::LeaseHeld { run: run.0, until });
            }
            let lease = Lease { run, holder: self.holder(), term: self.system().random(), expires: now + ttl };
            let batch = found
                .expect(Batch::new(), run)
                .put(Space::Leases, lease_key(run), encode_record(&lease.record())?)
                .put(Space::Leases, expiry_key(run), encode_record(&lease.expires)?);
            if self.state().apply(batch).await? == Outcome::Applied {
                return Ok(lease);
            }
            self.back_off(attempt).await;
        }
        Err(CatalogError::Contended { name: format!("the lease of run {run}"), attempts: ATTEMPTS })
    }

    /// Prolongs a lease.
    ///
    /// # Errors
    /// `LeaseLost` when another process took over.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Lease> {
        let renewed = Lease { expires: self.system().now() + ttl, ..lease.clone() };
        let batch =
            lease.expect(Batch::new())?.put(Space::Leases, expiry_key(lease.run), encode_record(&renewed.expires)?);
        match self.state().apply(batch).await? {
            Outcome::Applied => Ok(renewed),
            Outcome::Refused { .. } => Err(CatalogError::LeaseLost { run: lease.run.0 }),
        }
    }

    /// Gives a lease back. One that another process took over is left to it.
    pub async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let batch = lease
            .expect(Batch::new())?
            .delete(Space::Leases, lease_key(lease.run))
            .delete(Space::Leases, expiry_key(lease.run));
        self.state().apply(batch).await?;
        Ok(())
    }

    /// Ends the lease of a holder that is known to be dead, so that nobody waits for it. `false`: the run has another
    /// lease by now, or none.
    pub async fn end_lease(&self, run: RunId, term: u64) -> Result<bool> {
        let found = self.find_lease(run).await?;
        if found.record.as_ref().is_none_or(|(record, _)| record.term != term) {
            return Ok(false);
        }
        let batch = found
            .expect(Batch::new(), run)
            .delete(Space::Leases, lease_key(run))
            .delete(Space::Leases, expiry_key(run));
        Ok(self.state().apply(batch).await? == Outcome::Applied)
    }

    /// Runs that somebody works on now.
    pub(crate) async fn leased_runs(&self) -> Result<Vec<RunId>> {
        let now = self.system().now();
        let mut runs = Vec::new();
        for (key, raw) in self.records(Space::Leases).await? {
            let Some(run) = key.strip_suffix("/until").and_then(|run| run.parse().ok()) else { continue };
            if decode_record::<Timestamp>(&key, &raw)? > now {
                runs.push(RunId(run));
            }
        }
        Ok(runs)
    }

    /// All records of a space.
    pub(crate) async fn records(&self, space: Space) -> Result<Vec<(Key, Bytes)>> {
        let mut records: Vec<(Key, Bytes)> = Vec::new();
        loop {
            let after = records.last().map(|(key, _)| key.clone());
            let page = self.state().scan(space, "", after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            records.extend(page);
            if !full {
                return Ok(records);
            }
        }
    }

    // ---- claims ----

    /// Reserves non-blind writes of tables on a target for a run: all of them or none. Claims of runs whose lease is
    /// over are taken.
    ///
    /// # Errors
    /// `Claimed`, naming the run that has one of the tables.
    pub async fn claim(&self, run: RunId, target: &str, tables: &[TableName]) -> Result<()> {
        for attempt in 1..=ATTEMPTS {
            let mut batch = Batch::new();
            for table in tables {
                batch = self.add_claim(batch, run, target, table).await?;
            }
            if self.state().apply(batch).await? == Outcome::Applied {
                return Ok(());
            }
            self.back_off(attempt).await;
        }
        Err(CatalogError::Contended { name: target.to_owned(), attempts: ATTEMPTS })
    }

    async fn add_claim(&self, mut batch: Batch, run: RunId, target: &str, table: &TableName) -> Result<Batch> {
        let key = claim_key(target, table);
        let found = self.state().get(Space::Claims, &key).await?;
        if let Some(raw) = &found {
            let claim: ClaimRecord = decode_record(&format!("claim of {table}"), raw)?;
            if claim.run != run {
                // The run may be resumed in this moment.
                batch = self.expect_unleased(batch, claim.run).await?.ok_or_else(|| CatalogError::Claimed {
                    table: table.to_string(),
                    target: target.to_owned(),
                    run: claim.run.0,
                })?;
            }
        }
        Ok(batch.expect(Space::Claims, key.clone(), found).put(
            Space::Claims,
            key,
            encode_record(&ClaimRecord { run })?,
        ))
    }

    /// Gives back what a run has claimed.
    pub async fn release_claims(&self, run: RunId) -> Result<()> {
        for (key, raw) in self.records(Space::Claims).await? {
            let claim: ClaimRecord = decode_record(&format!("claim {key}"), &raw)?;
            if claim.run == run {
                // Refused when another run took it over meanwhile: then it is theirs.
                let batch = Batch::new().expect(Space::Claims, key.clone(), Some(raw)).delete(Space::Claims, key);
                self.state().apply(batch).await?;
            }
        }
        Ok(())
    }
}
