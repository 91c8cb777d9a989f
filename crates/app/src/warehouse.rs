//! Where the tables are: on disk below the project's home, or in a bucket.

use std::path::Path;
use std::sync::Arc;

use polder_project::Settings;
use polder_store::{Batch, LocalDisk, Outcome, S3Location, S3Storage, Space, State, Storage, StoreError, Warehouse};
use polder_system::System;
use serde::{Deserialize, Serialize};

use crate::{AppError, Home, machine};

/// In `Meta`: the root of the warehouse that a state is about.
const ROOT: &str = "warehouse";
/// In `Meta`: the random name of a state, by which a warehouse in a bucket knows it again.
const NAME: &str = "name";
/// In a warehouse in a bucket: the state that it belongs to.
const OWNER: &str = "_polder/owner";

/// The state that moves the refs of a warehouse.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// What the state calls itself.
    state: String,
    /// Where it is: the machine, and the folder on it.
    host: String,
    home: String,
}

/// What of a project is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What its state has; the warehouse may be away.
    Records,
    /// Its tables as well.
    Tables,
}

/// Opens the warehouse of a project.
///
/// # Errors
/// A bucket that cannot be used; a state that is about another warehouse, or a warehouse that belongs to another state.
pub(crate) async fn open(
    settings: &Settings,
    home: &Home,
    state: &dyn State,
    system: &Arc<dyn System>,
    reach: Reach,
) -> Result<Warehouse, AppError> {
    let (storage, root): (Arc<dyn Storage>, String) = match &settings.warehouse {
        None => {
            let disk = LocalDisk::open(home.warehouse())?;
            let root = disk.root_url();
            (Arc::new(disk), root)
        }
        Some(address) => {
            check_root(state, address).await?;
            let location = S3Location::parse(address)?;
            let options = polder_ingest::s3_options(&settings.s3);
            let root = location.to_string();
            let storage = match reach {
                Reach::Records => S3Storage::unasked(location, &options).await?,
                Reach::Tables => {
                    let storage = S3Storage::open(location, &options).await?;
                    claim(&storage, &root, home, state, system).await?;
                    storage
                }
            };
            (Arc::new(storage), root)
        }
    };
    if settings.warehouse.is_none() {
        check_disk(state).await?;
    }
    Ok(Warehouse::new(storage, &root))
}

/// A state knows the tables of one warehouse. With another one every table would be missing.
async fn check_root(state: &dyn State, address: &str) -> Result<(), AppError> {
    let known = match state.get(Space::Meta, ROOT).await? {
        Some(raw) => Some(decode::<String>(ROOT, &raw)?),
        // A state that was made before it was written down, or is empty.
        None if state.get(Space::Refs, polder_catalog::MAIN).await?.is_some() => Some("a folder on disk".to_owned()),
        None => None,
    };
    match known {
        Some(known) if known != address => Err(other_warehouse(&known, address)),
        Some(_) => Ok(()),
        None => {
            let batch = Batch::new().expect(Space::Meta, ROOT, None).put(Space::Meta, ROOT, encode(&address)?);
            state.apply(batch).await?;
            Ok(())
        }
    }
}

/// A warehouse on disk may be moved along with its state (the catalog sees to that), but does not follow a bucket.
async fn check_disk(state: &dyn State) -> Result<(), AppError> {
    match state.get(Space::Meta, ROOT).await? {
        Some(raw) => Err(other_warehouse(&decode::<String>(ROOT, &raw)?, "a folder on disk")),
        None => Ok(()),
    }
}

fn other_warehouse(known: &str, wanted: &str) -> AppError {
    AppError::Environment(format!(
        "the state in this `home` is about the tables in {known}, and the warehouse is {wanted} now: give the project, or \
         the environment of `polder.yaml`, another `home`"
    ))
}

/// Makes sure that no other state moves the refs of this warehouse: each would publish over what the other did. A state
/// that was lost, and made anew at the same place, takes it over.
async fn claim(
    storage: &S3Storage,
    root: &str,
    home: &Home,
    state: &dyn State,
    system: &Arc<dyn System>,
) -> Result<(), AppError> {
    let folder = home.folder().canonicalize().unwrap_or_else(|_| home.folder().to_owned());
    let ours = Owner {
        state: name_of(state, system).await?,
        host: machine::host_name(),
        home: Path::display(&folder).to_string(),
    };
    let bytes = encode(&ours)?;
    let found = match storage.get(OWNER).await {
        Err(StoreError::NotFound { .. }) => match storage.put(OWNER, bytes.clone()).await {
            Ok(()) => return Ok(()),
            // Another was faster.
            Err(StoreError::Exists { .. }) => storage.get(OWNER).await?,
            Err(error) => return Err(error.into()),
        },
        other => other?,
    };
    let theirs: Owner = decode(OWNER, &found)?;
    if theirs.state == ours.state {
        return Ok(());
    }
    if (&theirs.host, &theirs.home) == (&ours.host, &ours.home) {
        storage.delete(OWNER).await?;
        return Ok(storage.put(OWNER, bytes).await?);
    }
    Err(AppError::Environment(format!(
        "the warehouse {root} belongs to the state in {} on {}: two states would publish over each other. Work there, or \
         choose another `warehouse`. If that state is lost for good, delete the object {root}/{OWNER}, and all that was \
         published is taken over",
        theirs.home, theirs.host
    )))
}

/// The name of a state, given to it once.
async fn name_of(state: &dyn State, system: &Arc<dyn System>) -> Result<String, AppError> {
    if let Some(raw) = state.get(Space::Meta, NAME).await? {
        return decode(NAME, &raw);
    }
    let name = format!("{:016x}{:016x}", system.random(), system.random());
    let batch = Batch::new().expect(Space::Meta, NAME, None).put(Space::Meta, NAME, encode(&name)?);
    match state.apply(batch).await? {
        Outcome::Refused { found: Some(raw), .. } => decode(NAME, &raw),
        _ => Ok(name),
    }
}

fn encode(value: &impl Serialize) -> Result<bytes::Bytes, AppError> {
    serde_json::to_vec(value).map(Into::into).map_err(|e| AppError::Defect(format!("a record does not encode: {e}")))
}

fn decode<T: for<'de> Deserialize<'de>>(key: &str, raw: &[u8]) -> Result<T, AppError> {
    let damaged = |e: serde_json::Error| StoreError::Corrupt { path: format!("record {key}"), detail: e.to_string() };
    Ok(serde_json::from_slice(raw).map_err(damaged)?)
}
