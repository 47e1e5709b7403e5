//! The plain implementation: TLS 1.3 over TCP, pinned to raw ed25519 keys (RFC 7250).
//!
//! Rules: no certificates, no names, no authorities: a peer is its key. Each connection proves
//! both keys afresh (no resumption). The message TLS signs begins with 64 spaces and a context
//! text, while the ledger's messages are signed as tagged 32-byte digests: neither signature
//! can pass for the other, so a box may use its box key here.
//! Never here: TLS 1.2, fallback to another key type.

use crate::{Connection, Dialer, Error, Limits, Listener, connection::timed};
use crypto::{PublicKey, SecretKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Both ends must speak this protocol; another version is another name.
const PROTOCOL: &[u8] = b"selvedge-link/1";
/// Peers that may shake hands or wait to be accepted; others wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 64;
/// Connections that may wait to be accepted.
const ACCEPT_QUEUE: usize = 16;
/// Pause after the system refused to accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// DER of an ed25519 public key is this and the 32 bytes (RFC 8410).
const PUBLIC_KEY_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// PKCS#8 of an ed25519 seed is this and the 32 bytes (RFC 8410).
const SECRET_KEY_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Dials with one identity.
#[derive(Debug, Clone)]
pub struct TlsDialer {
    identity: Arc<CertifiedKey>,
    limits: Limits,
}

impl TlsDialer {
    /// A dialer that proves `key`.
    ///
    /// # Errors
    /// [`Error::Identity`] if the TLS library refuses the key.
    pub fn new(key: &SecretKey, limits: Limits) -> Result<Self, Error> {
        Ok(Self { identity: identity(key)?, limits })
    }
}

impl Dialer for TlsDialer {
    async fn dial(&self, address: &str, peer: PublicKey) -> Result<Connection, Error> {
        let stream = timed("dialling", self.limits.dial, TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        let config = client_config(Arc::clone(&self.identity), peer)?;
        // No name is sent or checked: the pinned key is the whole identity.
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = timed("the handshake", self.limits.handshake, handshake).await?;
        Ok(Connection::start(stream, peer, self.limits))
    }
}

/// Listens with one identity; stops when dropped.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Connection>,
    accepting: AbortHandle,
}

impl TlsListener {
    /// Listens at `address` and proves `key` to who dials.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be bound; [`Error::Identity`].
    pub async fn bind(address: SocketAddr, key: &SecretKey, limits: Limits) -> Result<Self, Error> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity(key)?)?));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (ready, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let accepting = tokio::spawn(accept_all(listener, acceptor, ready, limits)).abort_handle();
        Ok(Self { address, accepted, accepting })
    }
}

impl Listener for TlsListener {
    async fn accept(&mut self) -> Result<Connection, Error> {
        self.accepted.recv().await.ok_or(Error::Closed)
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes TCP connections for ever; each shakes hands in a task of its own.
async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<Connection>,
    limits: Limits,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            // A peer that cannot prove a key gets no answer and leaves no trace.
            if let Ok(connection) = shake_hands(stream, acceptor, limits).await {
                ready.send(connection).await.ok();
            }
            drop(permit);
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    limits: Limits,
) -> Result<Connection, Error> {
    stream.set_nodelay(true)?;
    let stream = timed("the handshake", limits.handshake, acceptor.accept(stream)).await?;
    let (_, session) = stream.get_ref();
    let spki = session.peer_certificates().and_then(|keys| keys.first()).ok_or(Error::PeerKey)?;
    let peer = public_key(spki).ok_or(Error::PeerKey)?;
    Ok(Connection::start(stream, peer, limits))
}

fn identity(key: &SecretKey) -> Result<Arc<CertifiedKey>, Error> {
    let mut der = Vec::with_capacity(SECRET_KEY_PREFIX.len() + 32);
    der.extend_from_slice(&SECRET_KEY_PREFIX);
    der.extend_from_slice(key.to_seed().as_slice());
    let der = PrivatePkcs8KeyDer::from(der);
    let signer =
        ring::sign::any_eddsa_type(&der).map_err(|error| Error::Identity(error.to_string()))?;
    let public = CertificateDer::from(public_der(&key.public()));
    Ok(Arc::new(CertifiedKey::new(vec![public], signer)))
}

fn public_der(key: &PublicKey) -> Vec<u8> {
    [PUBLIC_KEY_PREFIX.as_slice(), key.as_bytes().as_slice()].concat()
}

/// The key in a DER public key, if it is a good ed25519 key.
fn public_key(der: &[u8]) -> Option<PublicKey> {
    let bytes = der.strip_prefix(PUBLIC_KEY_PREFIX.as_slice())?;
    let key = PublicKey::new(bytes.try_into().ok()?);
    key.validate().is_ok().then_some(key)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_config(identity: Arc<CertifiedKey>, peer: PublicKey) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Identity(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(RawKeys { pinned: Some(public_der(&peer)) }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(identity)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(identity: Arc<CertifiedKey>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Identity(error.to_string()))?
        .with_client_cert_verifier(Arc::new(RawKeys { pinned: None }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts one pinned key, or any ed25519 key, and only the scheme that belongs to it.
#[derive(Debug)]
struct RawKeys {
    /// DER of the only key that is accepted; without it any.
    pinned: Option<Vec<u8>>,
}

impl RawKeys {
    fn check_key(&self, key: &[u8]) -> Result<(), rustls::Error> {
        let wrong = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        match &self.pinned {
            Some(pinned) if pinned != key => Err(wrong),
            _ if public_key(key).is_none() => Err(wrong),
            _ => Ok(()),
        }
    }

    fn check_signature(
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &algorithms)
    }
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check_key(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check_key(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
