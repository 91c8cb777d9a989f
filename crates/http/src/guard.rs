//! Who asks, and from where.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use polder_app::{Admission, Claim, Guest};

use crate::failure::Failure;
use crate::routes::Shared;

/// The name under which somebody asks at a door that trusts them.
const USER: &str = "x-polder-user";

/// Lets a request through with its [`Guest`], or refuses it.
pub(crate) async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Result<Response, Failure> {
    let headers = request.headers();
    if shared.trusting {
        refuse_other_sites(headers)?;
    }
    let (user, token) = credentials(headers)?;
    let claim = Claim { user: user.as_deref(), token: token.as_deref(), trusting: shared.trusting };
    let guest: Guest = match shared.server.admit(claim).await? {
        Admission::Granted(guest) => guest,
        Admission::TokenNeeded => {
            let mut failure = Failure::new(StatusCode::UNAUTHORIZED, "a token is needed: `Authorization: Bearer …`");
            failure.told.hint = Some("`polder token NAME` makes one".to_owned());
            return Err(failure);
        }
        Admission::Refused(why) => return Err(Failure::new(StatusCode::UNAUTHORIZED, why)),
    };
    request.extensions_mut().insert(guest);
    Ok(next.run(request).await)
}

/// A page of another site that a browser on this machine shows could ask a door that trusts whoever is on this machine.
/// Its requests name the site, or, where a name was made to lead here, a host that is not this one.
fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host));
    let local = |host: &str| matches!(host.trim_matches(['[', ']']), "localhost" | "127.0.0.1" | "::1");
    let origin = text(header::ORIGIN).map(|origin| {
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        host.rsplit_once(':').map_or(host, |(host, _)| host)
    });
    if host.is_some_and(|host| !local(host)) || origin.is_some_and(|origin| !local(origin)) {
        let mut failure = Failure::new(StatusCode::FORBIDDEN, "pages of other sites are not answered here");
        failure.told.hint = Some("`doors: { tokens: always }` in polder.yaml asks for a token instead".to_owned());
        return Err(failure);
    }
    Ok(())
}

/// Name and token: of `Bearer`, of `Basic` (the token is the password), or the name alone.
fn credentials(headers: &HeaderMap) -> Result<(Option<String>, Option<String>), Failure> {
    let malformed = || Failure::new(StatusCode::BAD_REQUEST, "the header Authorization is malformed");
    let named = headers.get(USER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok((named, None)) };
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, rest) = value.split_once(' ').ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok((named, Some(rest.trim().to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = base64(rest.trim()).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let (user, token) = decoded.split_once(':').ok_or_else(malformed)?;
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Ok((given(user), given(token)))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        bits = (bits << 6) | u32::from(digit(byte)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for fine in [
            &[][..],
            &[("host", "127.0.0.1:7070")],
            &[("host", "[::1]:7070")],
            &[("host", "localhost")],
            &[("host", "localhost:7070"), ("origin", "http://localhost:7070")],
        ] {
            assert!(refuse_other_sites(&headers(fine)).is_ok(), "{fine:?}");
        }
        for foreign in [
            &[("host", "evil.example:7070")][..],
            &[("host", "localhost"), ("origin", "https://evil.example")],
            &[("host", "localhost"), ("origin", "null")],
        ] {
            assert!(refuse_other_sites(&headers(foreign)).is_err(), "{foreign:?}");
        }
    }

    #[test]
    fn tokens_come_in_two_ways() {
        let of = |value| credentials(&headers(&[("authorization", value)])).ok();
        assert_eq!(of("Bearer t"), Some((None, Some("t".to_owned()))));
        assert_eq!(of("Basic YW5uOnQ="), Some((Some("ann".to_owned()), Some("t".to_owned()))));
        assert_eq!(of("Digest x"), None);
        assert_eq!(of("Basic ???"), None);
        assert_eq!(credentials(&headers(&[("x-polder-user", "ann")])).ok(), Some((Some("ann".to_owned()), None)));
    }
}
