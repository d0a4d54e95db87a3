//! The least HTTP/1.1 client that can send a body and read a status, so that the generator takes few cycles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

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
        self.request("POST", path, body).map(drop)
    }

    /// Sends a GET request; gives the body.
    pub(crate) fn get(&mut self, path: &str) -> Outcome<Vec<u8>> {
        self.request("GET", path, b"")
    }

    /// What ends the connection from another thread.
    pub(crate) fn hang_up(&self) -> std::io::Result<impl Fn() + use<>> {
        let stream = self.stream.get_ref().try_clone()?;
        // A connection that is gone already needs no end.
        Ok(move || drop(stream.shutdown(Shutdown::Both)))
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> std::io::Result<()> {
        self.send_with(method, path, "", body)
    }

    /// Sends a request with more headers, each with its line end.
    pub(crate) fn send_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> std::io::Result<()> {
        // In one piece: a server that reads the head bit by bit is woken for each.
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        self.send_raw(head.as_bytes())?;
        self.send_raw(body)
    }

    /// Sends these bytes.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// How long to wait for an answer, or for the server to take what is sent.
    pub(crate) fn set_patience(&mut self, patience: Duration) -> std::io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        self.stream.get_ref().set_write_timeout(Some(patience))
    }

    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Outcome<Vec<u8>> {
        self.send(method, path, body)?;
        self.answer().map_err(|error| format!("{method} {path}: {error}").into())
    }

    /// Reads the answer to a request that was sent; any status but 2xx is an error.
    pub(crate) fn answer(&mut self) -> Outcome<Vec<u8>> {
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let (mut length, mut is_chunked, mut line) = (0, false, String::new());
        while self.stream.read_line(&mut line)? > 0 && line != "\r\n" {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            is_chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
            line.clear();
        }
        let answer = if is_chunked { self.chunks()? } else { self.bytes(length)? };
        if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
            return Ok(answer);
        }
        Err(format!("{}: {}", status.trim(), String::from_utf8_lossy(&answer)).into())
    }

    fn bytes(&mut self, length: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A body in chunks, each behind a line with its length.
    fn chunks(&mut self) -> Outcome<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16)?;
            body.extend(self.bytes(length)?);
            self.bytes(2)?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
}
