//! The surroundings that credentials are looked for in.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use reqsign_core::{CommandExecute, CommandOutput, Context, Error, FileRead, HttpSend, OsEnv, Result};

/// Services that give out roles are near; those of single sign-on are not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(20);
/// The addresses of a machine's own services, which no proxy can reach.
const LINK_LOCAL: [&str; 2] = ["169.254.", "[fd00:ec2"];

/// This process's variables, this machine's files, programs and network.
pub(super) fn of_process() -> crate::Result<Context> {
    let client = |builder: reqwest::ClientBuilder| {
        let built = builder.connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        built.map_err(|e| super::wrong(e.to_string()))
    };
    let http =
        Http { anywhere: client(reqwest::Client::builder())?, nearby: client(reqwest::Client::builder().no_proxy())? };
    Ok(Context::new().with_env(OsEnv).with_file_read(Files).with_command_execute(Programs).with_http_send(http))
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        tokio::fs::read(path).await.map_err(|e| Error::unexpected(format!("cannot read {path}")).with_source(e))
    }
}

/// Runs a command line by the shell, so that its quotes mean what they do everywhere.
#[derive(Debug)]
struct Programs;

impl CommandExecute for Programs {
    async fn command_execute<'a>(&'a self, program: &'a str, args: &'a [&'a str]) -> Result<CommandOutput> {
        let line = std::iter::once(program).chain(args.iter().copied()).collect::<Vec<_>>().join(" ");
        let run =
            move || std::process::Command::new("sh").arg("-c").arg(line).stdin(std::process::Stdio::null()).output();
        let output = match tokio::task::spawn_blocking(run).await {
            Ok(Ok(output)) => output,
            Ok(Err(e)) => return Err(Error::unexpected("cannot run the shell").with_source(e)),
            Err(e) => return Err(Error::unexpected("running the program was broken off").with_source(e)),
        };
        Ok(CommandOutput { status: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: output.stderr })
    }
}

#[derive(Debug)]
struct Http {
    anywhere: reqwest::Client,
    nearby: reqwest::Client,
}

impl HttpSend for Http {
    async fn http_send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let client = match LINK_LOCAL.iter().any(|near| host.starts_with(near)) {
            true => &self.nearby,
            false => &self.anywhere,
        };
        // Whatever is told of a request must not hold its contents.
        let failed =
            |e: reqwest::Error| Error::unexpected(format!("no answer from {host}")).with_source(e.without_url());
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let answer = client.execute(request).await.map_err(|e| failed(e).set_retryable(true))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|e| failed(e).set_retryable(true))?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Surroundings with these variables and files, and one answer for whoever asks over the network.
#[cfg(test)]
pub(super) fn scripted(variables: &[(&str, &str)], files: &[(&str, &str)], answer: &str) -> Context {
    use std::collections::HashMap;

    use parking_lot::Mutex;
    use reqsign_core::StaticEnv;

    #[derive(Debug)]
    struct Script(HashMap<String, String>);
    impl FileRead for Script {
        async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
            self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| Error::unexpected("no such file"))
        }
    }
    #[derive(Debug)]
    struct Once(Mutex<Option<String>>);
    impl HttpSend for Once {
        async fn http_send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
            assert!(request.headers().contains_key("authorization"), "{request:?}");
            let answer = self.0.lock().take().filter(|answer| !answer.is_empty());
            answer.map(|text| Response::new(text.into())).ok_or_else(|| Error::unexpected("nobody answers"))
        }
    }
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut envs: HashMap<String, String> = owned(variables);
    envs.insert("AWS_CONFIG_FILE".to_owned(), "/aws/config".to_owned());
    Context::new()
        .with_env(StaticEnv { home_dir: Some("/home/somebody".into()), envs })
        .with_file_read(Script(owned(files)))
        .with_command_execute(Programs)
        .with_http_send(Once(Mutex::new(Some(answer.to_owned()))))
}
