//! The least HTTP/1.1 client that can send a body and read a status, so that the generator takes few cycles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::Outcome;

/// A port that is free now.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a POST request; any status but 2xx is an error.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Outcome<()> {
        self.request("POST", path, body)
    }

    pub(crate) fn get(&mut self, path: &str) -> Outcome<()> {
        self.request("GET", path, b"")
    }

    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Outcome<()> {
        let stream = self.stream.get_mut();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let (mut length, mut line) = (0, String::new());
        while self.stream.read_line(&mut line)? > 0 && line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
            return Ok(());
        }
        Err(format!("{method} {path}: {}: {}", status.trim(), String::from_utf8_lossy(&answer)).into())
    }
}
