//! As much of Redis's protocol as a lock with a channel for its release needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a command; the first line of its answer.
    pub fn call(&mut self, words: &[&str]) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.reader.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    /// Waits for what is published on the channel that this connection is subscribed to.
    pub fn next_message(&mut self) -> io::Result<()> {
        self.answer().map(drop)
    }

    fn answer(&mut self) -> io::Result<String> {
        let line = self.line()?;
        let length = line.get(1..).and_then(|number| number.parse::<usize>().ok());
        match (line.bytes().next(), length) {
            (Some(b'*'), Some(parts)) => {
                for _ in 0..parts {
                    self.answer()?;
                }
            }
            (Some(b'$'), Some(length)) => {
                let mut text = vec![0; length + 2];
                self.reader.read_exact(&mut text)?;
            }
            _ => {}
        }
        Ok(line)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
