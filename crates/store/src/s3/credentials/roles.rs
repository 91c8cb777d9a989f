//! Roles that are assumed with other credentials.

use std::time::Duration;

use http::request::Parts;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqsign_aws_core::{AssumeRoleCredentialProvider, Credential};
use reqsign_core::{Context, Error, Result, SignRequest, Signer};

use super::origin::Role;

/// Asks the regional token service for a role.
pub(super) fn provider(role: &Role, context: &Context, region: &str) -> AssumeRoleCredentialProvider {
    let signer = Signer::new(context.clone(), role.by.provider(context, region), Sts { region: region.to_owned() });
    let mut provider = AssumeRoleCredentialProvider::new(role.arn.clone(), signer)
        .with_role_session_name(role.session.clone())
        .with_region(region.to_owned())
        .with_regional_sts_endpoint();
    if let Some(id) = &role.external_id {
        provider = provider.with_external_id(id.clone());
    }
    if let Some(seconds) = role.seconds {
        provider = provider.with_duration_seconds(seconds);
    }
    provider
}

/// Signs requests to the token service.
#[derive(Debug)]
struct Sts {
    region: String,
}

impl SignRequest for Sts {
    type Credential = Credential;

    async fn sign_request(
        &self,
        _: &Context,
        parts: &mut Parts,
        credential: Option<&Credential>,
        _: Option<Duration>,
    ) -> Result<()> {
        let credential = credential.ok_or_else(|| Error::credential_invalid("there is nothing to sign with"))?;
        let credential = AwsCredential {
            key_id: credential.access_key_id.clone(),
            secret_key: credential.secret_access_key.clone(),
            token: credential.session_token.clone(),
        };
        // What asks for a role is a GET: it has no body.
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        AwsAuthorizer::new(&credential, "sts", &self.region).authorize(&mut request, None);
        parts.headers = std::mem::take(request.headers_mut());
        Ok(())
    }
}
