//! Credentials, from where AWS's own tools take them: the environment, a profile with all that it may refer to (another
//! profile's role, single sign-on, a program, a web identity), a container's role, a machine's role.

mod context;
mod origin;
mod profiles;
mod roles;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::{CredentialProvider, Error};
use reqsign_aws_core::Credential;
use reqsign_core::{Context, ProvideCredentialDyn};
use tokio::sync::Mutex;

use self::origin::Origin;
use self::profiles::Profiles;
use super::options::S3Options;
use crate::{Result, StoreError};

/// Credentials that end are fetched anew so long before they do.
const AHEAD: Duration = Duration::from_secs(300);
/// Those that do not say when they end are looked up again after this: somebody may have changed them in their file.
const LOOK_AGAIN: Duration = Duration::from_secs(900);
/// Some issuers give out what ends within `AHEAD`: those are used for this long.
const AT_LEAST: Duration = Duration::from_secs(30);
const DEFAULT_REGION: &str = "us-east-1";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct NoCredentials {
    pub(super) message: String,
    pub(super) transient: bool,
}

/// Where a store's credentials come from, and those that were found last.
pub(super) struct Credentials {
    context: Context,
    region: String,
    endpoint: Option<String>,
    /// The first that has credentials gives them.
    chain: Vec<Origin>,
    profile: String,
    found: Mutex<Option<Found>>,
}

struct Found {
    credential: Arc<AwsCredential>,
    ends: Option<SystemTime>,
    fetched: Instant,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// # Errors
    /// A profile that was named and is none, or that refers to what is none.
    pub(super) async fn new(options: &S3Options) -> Result<Self> {
        Self::within(context::of_process()?, options).await
    }

    async fn within(context: Context, options: &S3Options) -> Result<Self> {
        let profiles = Profiles::read(&context).await;
        let named = options.profile.clone().or_else(|| variable(&context, "AWS_PROFILE"));
        let profile = named.clone().unwrap_or_else(|| "default".to_owned());
        let asks_profile = options.access_key.is_none() && !options.anonymous;
        if let Some(name) = &named
            && asks_profile
            && profiles.get(name).is_none()
        {
            return Err(wrong(format!("there is no profile `{name}` in ~/.aws/config or ~/.aws/credentials")));
        }
        let of_profile = |key: &str| profiles.get(&profile).and_then(|section| section.get(key)).cloned();
        let region = options
            .region
            .clone()
            .or_else(|| variable(&context, "AWS_REGION"))
            .or_else(|| variable(&context, "AWS_DEFAULT_REGION"))
            .or_else(|| of_profile("region"))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint = variable(&context, "AWS_ENDPOINT_URL_S3")
            .or_else(|| variable(&context, "AWS_ENDPOINT_URL"))
            .or_else(|| of_profile("endpoint_url"));
        let chain = match &options.access_key {
            Some((id, secret)) => vec![Origin::keys(id, &secret.0, None)],
            None if asks_profile => chain(options, &profiles, &profile)?,
            None => Vec::new(),
        };
        Ok(Self { context, region, endpoint, chain, profile, found: Mutex::new(None) })
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// The endpoint that the environment or the profile names.
    pub(super) fn endpoint(&self) -> Option<String> {
        self.endpoint.clone()
    }

    /// The store says that they have ended: the next request fetches others.
    pub(super) fn forget(&self) {
        // Where somebody holds the lock, they are being fetched.
        if let Ok(mut found) = self.found.try_lock() {
            *found = None;
        }
    }

    async fn fetch(&self) -> Result<Found, NoCredentials> {
        let mut last = String::new();
        for origin in &self.chain {
            let provider = origin.provider(&self.context, &self.region);
            match provider.provide_credential_dyn(&self.context).await {
                Ok(Some(credential)) => return Ok(Found::new(credential)),
                Ok(None) => {}
                // Whether this machine has a role is known only by asking.
                Err(error) if matches!(origin, Origin::Machine) => last = format!(" ({})", told(&error)),
                Err(error) => {
                    let message = format!("{origin} gave no credentials: {}", told(&error));
                    return Err(NoCredentials { message, transient: error.is_retryable() });
                }
            }
        }
        let message = format!(
            "no credentials were found: none in the environment (AWS_ACCESS_KEY_ID), in the profile `{}` of ~/.aws, or \
             of this machine's role{last}",
            self.profile
        );
        Err(NoCredentials { message, transient: false })
    }
}

fn chain(options: &S3Options, profiles: &Profiles, profile: &str) -> Result<Vec<Origin>> {
    let of_profile = Origin::of_profile(profiles, profile).map_err(wrong)?;
    // A profile that the project names is meant, whatever else there is.
    if options.profile.is_some() {
        let empty = || wrong(format!("the profile `{profile}` of ~/.aws has no credentials"));
        return Ok(vec![of_profile.ok_or_else(empty)?]);
    }
    let environment = [Origin::Environment, Origin::WebIdentityOfEnvironment];
    Ok(environment.into_iter().chain(of_profile).chain([Origin::Container, Origin::Machine]).collect())
}

fn variable(context: &Context, name: &str) -> Option<String> {
    context.env_var(name).filter(|value| !value.is_empty())
}

fn wrong(detail: String) -> StoreError {
    StoreError::Io { doing: "looking for credentials".to_owned(), detail, transient: false }
}

/// An error with its causes.
fn told(error: &reqsign_core::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl Found {
    fn new(credential: Credential) -> Self {
        let ends = credential.expires_in.map(|ends| ends.as_system_time());
        let credential = AwsCredential {
            key_id: credential.access_key_id,
            secret_key: credential.secret_access_key,
            token: credential.session_token,
        };
        Self { credential: Arc::new(credential), ends, fetched: Instant::now() }
    }

    fn holds_for(&self, time: Duration) -> bool {
        self.ends.is_none_or(|ends| SystemTime::now() + time < ends)
    }

    fn is_fresh(&self) -> bool {
        let age = self.fetched.elapsed();
        match self.ends {
            None => age < LOOK_AGAIN,
            Some(_) => self.holds_for(AHEAD) || (age < AT_LEAST && self.holds_for(Duration::ZERO)),
        }
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut found = self.found.lock().await;
        if let Some(found) = found.as_ref().filter(|found| found.is_fresh()) {
            return Ok(Arc::clone(&found.credential));
        }
        match self.fetch().await {
            Ok(fresh) => Ok(Arc::clone(&found.insert(fresh).credential)),
            Err(error) => match found.as_ref().filter(|found| found.holds_for(Duration::ZERO)) {
                Some(found) => {
                    tracing::warn!(%error, "credentials could not be renewed; those that there are still hold");
                    Ok(Arc::clone(&found.credential))
                }
                None => Err(Error::Generic { store: "S3", source: Box::new(error) }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::context::scripted;
    use super::*;

    const CONFIG: &str = "
        [default]
        region = eu-central-1
        [profile base]
        aws_access_key_id = AKIABASE
        aws_secret_access_key = s1
        [profile lake]
        role_arn = arn:aws:iam::123456789012:role/lake
        source_profile = base
        region = eu-west-1
        [profile program]
        credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"AKIAPROG\",\"SecretAccessKey\":\"a b\"}'
        [profile empty]
        region = eu-north-1
    ";

    fn options(profile: Option<&str>) -> S3Options {
        S3Options { profile: profile.map(str::to_owned), ..S3Options::default() }
    }

    async fn key_of(variables: &[(&str, &str)], profile: Option<&str>) -> std::result::Result<String, String> {
        let context = scripted(variables, &[("/aws/config", CONFIG)], "");
        let credentials = Credentials::within(context, &options(profile)).await.map_err(|e| e.to_string())?;
        let credential = credentials.get_credential().await.map_err(|e| e.to_string())?;
        Ok(credential.key_id.clone())
    }

    #[tokio::test]
    async fn the_environment_wins_over_a_profile_unless_the_project_names_one() {
        let keys = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "base")];
        assert_eq!(key_of(&keys, None).await.unwrap(), "AKIAENV");
        assert_eq!(key_of(&keys, Some("base")).await.unwrap(), "AKIABASE");
        assert_eq!(key_of(&keys[2..], None).await.unwrap(), "AKIABASE");
    }

    #[tokio::test]
    async fn a_program_is_asked() {
        assert_eq!(key_of(&[], Some("program")).await.unwrap(), "AKIAPROG");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let missing = key_of(&[("AWS_EC2_METADATA_DISABLED", "true")], None).await.unwrap_err();
        assert!(missing.contains("no credentials were found") && missing.contains("`default`"), "{missing}");
        let unknown = key_of(&[], Some("lakes")).await.unwrap_err();
        assert!(unknown.contains("there is no profile `lakes`"), "{unknown}");
        let empty = key_of(&[], Some("empty")).await.unwrap_err();
        assert!(empty.contains("the profile `empty` of ~/.aws has no credentials"), "{empty}");
    }

    #[tokio::test]
    async fn a_role_is_assumed_with_the_keys_of_the_other_profile() {
        let answer = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
            <Credentials><AccessKeyId>ASIAROLE000000000000</AccessKeyId><SecretAccessKey>s2</SecretAccessKey>\
            <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
            <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/lake/polder</Arn>\
            <AssumedRoleId>AROA:polder</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>";
        let context = scripted(&[], &[("/aws/config", CONFIG)], answer);
        let credentials = Credentials::within(context, &options(Some("lake"))).await.unwrap();
        assert_eq!(credentials.region(), "eu-west-1");
        let credential = credentials.get_credential().await.unwrap();
        assert_eq!((credential.key_id.as_str(), credential.token.as_deref()), ("ASIAROLE000000000000", Some("t")));
        // Kept: the script has no second answer.
        assert_eq!(credentials.get_credential().await.unwrap().key_id, "ASIAROLE000000000000");
    }

    #[test]
    fn what_ends_soon_is_fetched_anew() {
        let found = |seconds: u64, age: u64| Found {
            credential: Arc::new(AwsCredential { key_id: String::new(), secret_key: String::new(), token: None }),
            ends: Some(SystemTime::now() + Duration::from_secs(seconds)),
            fetched: Instant::now().checked_sub(Duration::from_secs(age)).unwrap_or_else(Instant::now),
        };
        assert!(found(3600, 60).is_fresh());
        assert!(!found(200, 60).is_fresh());
        assert!(found(200, 1).is_fresh(), "just fetched: there is nothing better");
        assert!(!found(0, 1).is_fresh());
    }
}
