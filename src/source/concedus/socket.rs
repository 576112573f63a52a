//! Opening the WebSocket: our own TCP connection (no delay), TLS over it, the upgrade with the bearer header.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        client::IntoClientRequest,
        http::{
            StatusCode,
            header::{AUTHORIZATION, HeaderValue},
        },
        protocol::WebSocketConfig,
    },
};
use url::Url;

use super::token::Token;

/// A TCP connection, with TLS over it or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the socket's host can't be resolved")]
    Resolve(#[source] std::io::Error),
    #[error("the socket's host can't be reached")]
    Tcp(#[source] std::io::Error),
    #[error("TLS with the socket's host failed")]
    Tls(#[source] std::io::Error),
    #[error("the socket refused the token with status {status}")]
    Refused { status: u16 },
    #[error("the upgrade to a WebSocket failed")]
    Upgrade(#[source] tungstenite::Error),
    #[error("{step} took too long")]
    Timeout { step: &'static str },
    #[error("the token can't stand in a header")]
    Header,
}

/// How and where to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) max_message: usize,
    /// Of each step.
    pub(super) timeout: Duration,
}

impl Target {
    /// Opens the socket with a token.
    pub(super) async fn open(&self, token: &Token) -> Result<Socket, ConnectError> {
        let mut request = self.url.as_str().into_client_request().map_err(ConnectError::Upgrade)?;
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", token.access.expose_secret())).map_err(|_| ConnectError::Header)?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);

        let stream = self.stream().await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.max_message))
            .max_frame_size(Some(self.max_message))
            .write_buffer_size(0);
        let upgrade = client_async_with_config(request, stream, Some(config));
        match timeout(self.timeout, upgrade).await.map_err(|_| ConnectError::Timeout { step: "the upgrade to a WebSocket" })? {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response))
                if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                Err(ConnectError::Refused { status: response.status().as_u16() })
            }
            Err(error) => Err(ConnectError::Upgrade(error)),
        }
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, ConnectError> {
        let tcp = self.tcp().await?;
        if self.url.scheme() == "ws" {
            return Ok(Box::new(tcp));
        }
        let unnamed = || ConnectError::Tls(std::io::Error::other("the host is no name that a certificate can carry"));
        let name = match self.url.host() {
            Some(url::Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|_| unnamed())?,
            Some(url::Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::V6(address)),
            None => return Err(unnamed()),
        };
        let handshake = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        let tls = timeout(self.timeout, handshake).await.map_err(|_| ConnectError::Timeout { step: "the TLS handshake" })?;
        Ok(Box::new(tls.map_err(ConnectError::Tls)?))
    }

    /// Every address has its own time: one that swallows packets doesn't hide the next.
    async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_or_known_default().unwrap_or(443);
        let lookup = timeout(self.timeout, tokio::net::lookup_host((host, port))).await;
        let addresses = lookup.map_err(|_| ConnectError::Timeout { step: "the lookup of the socket's host" })?;
        let mut failure = ConnectError::Resolve(std::io::Error::other("it has no address"));
        for address in addresses.map_err(ConnectError::Resolve)? {
            match timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
                    return Ok(tcp);
                }
                Ok(Err(error)) => failure = ConnectError::Tcp(error),
                Err(_) => failure = ConnectError::Timeout { step: "connecting to the socket's host" },
            }
        }
        Err(failure)
    }
}
