//! A relay like [`Relay`](super::Relay), for HTTP/2: several streams of one connection are disturbed independently.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use h2::{Reason, SendStream, server::SendResponse};
use http::{Request, Response};

use super::{Authority, Chance, Disturbance, Listener, relay::exchange};

/// A running relay. After it is dropped, it accepts no new connections.
#[derive(Debug)]
pub struct MultiplexedRelay {
    listener: Listener,
    disturbance: Arc<Disturbance>,
}

impl MultiplexedRelay {
    /// A relay to a server, on loopback. At first, nothing is disturbed.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn start(upstream: SocketAddr, authority: &Authority) -> io::Result<Self> {
        let disturbance = Arc::<Disturbance>::default();
        let mut config = rustls::ServerConfig::clone(&authority.server);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (config, of_connections) = (Arc::new(config), Arc::clone(&disturbance));
        let listener = Listener::start("127.0.0.1:0", move |stream| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(converse(stream, Arc::clone(&config), upstream, &of_connections))
        })?;
        Ok(Self { listener, disturbance })
    }

    /// The disturbance of this relay.
    pub fn disturbance(&self) -> &Disturbance {
        &self.disturbance
    }

    /// The URL of a path on this relay.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.listener.address)
    }
}

/// Answers the streams of a connection until the client has no more requests, or the connection ends with a fault.
async fn converse(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    upstream: SocketAddr,
    disturbance: &Disturbance,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let stream = tokio_rustls::TlsAcceptor::from(config).accept(stream).await?;
    let mut connection = h2::server::handshake(stream).await.map_err(io::Error::other)?;
    // Streams that are kept open without further data.
    let mut stalled = Vec::new();
    while let Some(stream) = connection.accept().await {
        let (request, respond) = stream.map_err(io::Error::other)?;
        let (request, method) = (plain(&request), request.method().clone());
        let (status, headers, mut body) = exchange(upstream, &request)?;
        if method == http::Method::HEAD {
            body.clear();
        }
        let mut response = Response::builder().status(status.split(' ').nth(1).unwrap_or("500"));
        for (name, value) in headers.iter().filter_map(|line| line.split_once(": ")) {
            response = response.header(name.to_ascii_lowercase(), value);
        }
        let response = response.body(()).map_err(io::Error::other)?;
        match disturbance.chance() {
            None => send(respond, response, &body)?,
            Some(mut chance) => match chance.below(10) {
                // The connection ends while its other streams are in progress.
                0 => return Ok(()),
                1 => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                _ => stalled.extend(disturbed(&mut chance, respond, response, &body)?),
            },
        }
    }
    Ok(())
}

/// Sends a wrong or incomplete response. Returns the stream if it is to be kept open without further data.
fn disturbed(
    chance: &mut Chance,
    mut respond: SendResponse<bytes::Bytes>,
    response: Response<()>,
    body: &[u8],
) -> io::Result<Option<SendStream<bytes::Bytes>>> {
    let place = usize::try_from(chance.below(body.len().max(1) as u64)).unwrap_or(0);
    let other =
        |status| Response::builder().status(status).header("retry-after", "0").body(()).map_err(io::Error::other);
    let (response, reason) = match chance.below(8) {
        0 => {
            respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(None);
        }
        1 => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(None);
        }
        2 => return send(respond, other(503)?, b"busy").map(|()| None),
        3 => return send(respond, other(429)?, b"busy").map(|()| None),
        4 => (response, Some(Reason::PROTOCOL_ERROR)),
        // The stream ends before the announced length.
        5 => return send(respond, response, &body[..place]).map(|()| None),
        6 => {
            // Frames of one byte, for a while.
            let mut stream = respond.send_response(response, false).map_err(io::Error::other)?;
            let (single, rest) = body.split_at(body.len().min(300));
            for byte in single {
                stream.send_data(bytes::Bytes::copy_from_slice(&[*byte]), false).map_err(io::Error::other)?;
            }
            stream.send_data(bytes::Bytes::copy_from_slice(rest), true).map_err(io::Error::other)?;
            return Ok(None);
        }
        _ => (response, None),
    };
    let mut stream = respond.send_response(response, false).map_err(io::Error::other)?;
    stream.send_data(bytes::Bytes::copy_from_slice(&body[..place]), false).map_err(io::Error::other)?;
    Ok(match reason {
        Some(reason) => {
            stream.send_reset(reason);
            None
        }
        None => Some(stream),
    })
}

/// Sends the complete response.
fn send(mut respond: SendResponse<bytes::Bytes>, response: Response<()>, body: &[u8]) -> io::Result<()> {
    let mut stream = respond.send_response(response, body.is_empty()).map_err(io::Error::other)?;
    if !body.is_empty() {
        stream.send_data(bytes::Bytes::copy_from_slice(body), true).map_err(io::Error::other)?;
    }
    Ok(())
}

/// A request in the form of HTTP/1.1.
fn plain<T>(request: &Request<T>) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let headers =
        request.headers().iter().filter_map(|(name, value)| Some(format!("\r\n{name}: {}", value.to_str().ok()?)));
    format!("{} {path} HTTP/1.1{}", request.method(), headers.collect::<String>())
}
