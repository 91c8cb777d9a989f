//! A server in front of another one, that fails as networks and busy stores do.
//!
//! The tests of the whole program include this file too; each uses a part of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is passed on.
    None,
    /// It is not passed on: this status and body are the answer.
    Answer(u16, &'static str),
    /// It is passed on and done, and the answer never comes.
    LoseAnswer,
    /// It is not passed on, and nothing comes for so long.
    Silence(Duration),
    /// Of the answer's body only so many bytes come.
    Cut(usize),
    /// It is passed on without this header, as by a server that does not know it.
    Without(&'static str),
}

/// A request, as far as faults depend on it.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its parameters.
    pub path: String,
}

type Rule = Box<dyn FnMut(&Request) -> Fault + Send>;

pub struct Proxy {
    /// The URL of the server behind, with this proxy's address in the place of its own.
    pub url: String,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// `url`: as the variables for tests hold it, `http://key:secret@host:port/bucket`.
    pub fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let behind = url.split("://").nth(1).unwrap();
        let behind = behind.rsplit_once('@').map_or(behind, |(_, host)| host).split('/').next().unwrap().to_owned();
        let proxy = Self {
            url: url.replace(&behind, &own),
            rule: Arc::new(Mutex::new(Box::new(|_| Fault::None))),
            seen: Arc::default(),
        };
        let (rule, seen) = (Arc::clone(&proxy.rule), Arc::clone(&proxy.seen));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rule, seen, behind) = (Arc::clone(&rule), Arc::clone(&seen), behind.clone());
                // A client that hangs up is no failure of the test.
                std::thread::spawn(move || drop(serve(client, &behind, &rule, &seen)));
            }
        });
        proxy
    }

    /// From now on this decides.
    pub fn fail(&self, rule: impl FnMut(&Request) -> Fault + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    pub fn recover(&self) {
        self.fail(|_| Fault::None);
    }

    /// The requests that have come.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// One request and its answer; then the connection ends.
fn serve(mut client: TcpStream, behind: &str, rule: &Mutex<Rule>, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(&mut client, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = header(&head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0usize);
    while bytes.len() < head_end + length {
        read_more(&mut client, &mut bytes)?;
    }
    let mut words = head.split_whitespace();
    let request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
    };
    seen.lock().unwrap().push(request.clone());
    let fault = (rule.lock().unwrap())(&request);
    match fault {
        Fault::Answer(status, body) => {
            let length = body.len();
            write!(client, "HTTP/1.1 {status} Fault\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
        }
        Fault::Silence(time) => std::thread::sleep(time),
        Fault::LoseAnswer => drop(forward(&head, &bytes[head_end..], behind, None)?),
        Fault::Without(name) => client.write_all(&forward(&head, &bytes[head_end..], behind, Some(name))?)?,
        Fault::None => client.write_all(&forward(&head, &bytes[head_end..], behind, None)?)?,
        Fault::Cut(count) => {
            let answer = forward(&head, &bytes[head_end..], behind, None)?;
            let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0) + 4;
            client.write_all(&answer[..answer.len().min(body + count)])?;
        }
    }
    client.shutdown(Shutdown::Both)
}

fn read_more(from: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    match from.read(&mut buffer)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)))
        .map(|(_, v)| v.trim())
}

/// The whole answer of the server behind.
fn forward(head: &str, body: &[u8], behind: &str, without: Option<&str>) -> std::io::Result<Vec<u8>> {
    let dropped = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("connection") || without.is_some_and(|without| name.eq_ignore_ascii_case(without))
    };
    let mut server = TcpStream::connect(behind)?;
    let lines: Vec<&str> = head.trim_end().lines().filter(|line| !dropped(line)).collect();
    server.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}
