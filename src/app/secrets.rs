//! Secrets: passwords hashed slowly, tokens hashed once, documents sealed. Nothing here is ever logged or stored plain.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{
    chance::Chance,
    error::{Error, Kind, Result},
};

/// Hashes and checks passwords with Argon2id, two at a time: each takes 19 MiB and tens of milliseconds.
#[derive(Clone)]
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(2)))
    }
}

impl Passwords {
    /// The hash to store, in PHC format with its parameters.
    pub async fn hash(&self, password: &str, chance: &dyn Chance) -> Result<String> {
        let mut salt = [0u8; 16];
        chance.fill(&mut salt);
        let password = Zeroizing::new(password.to_owned());
        self.off_the_runtime(move || {
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|error| Error::internal(error.to_string()))
        })
        .await?
    }

    /// Whether `password` belongs to `hash`. Without a hash it takes as long and says no, so that a stranger cannot
    /// tell an unknown account from a wrong password by the clock.
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool> {
        let password = Zeroizing::new(password.to_owned());
        self.off_the_runtime(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            let parsed = PasswordHash::new(&hash).map_err(|error| Error::internal(error.to_string()))?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && known)
        })
        .await?
    }

    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let _permit = self.0.acquire().await.map_err(Error::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

/// A hash that no password has, with the default parameters.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bXVzdGVyIG5vYm9keSE$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A bearer token: 256 random bits behind a prefix that says what it is.
pub struct Token(Zeroizing<String>);

/// Which kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Of a login session: `mus_…`.
    Session,
    /// An API key: `muk_…`.
    ApiKey,
    /// The one-time token of the first start: `muo_…`.
    OperatorClaim,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "mus_",
            Self::ApiKey => "muk_",
            Self::OperatorClaim => "muo_",
        }
    }

    /// What kind a text claims to be.
    pub fn of(text: &str) -> Option<Self> {
        [Self::Session, Self::ApiKey, Self::OperatorClaim].into_iter().find(|k| text.starts_with(k.prefix()))
    }
}

impl Token {
    /// A fresh token.
    pub fn fresh(kind: TokenKind, chance: &dyn Chance) -> Self {
        let mut bits = Zeroizing::new([0u8; 32]);
        chance.fill(&mut *bits);
        Self(Zeroizing::new(format!("{}{}", kind.prefix(), hex::encode(*bits))))
    }

    /// The token itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The hash to store.
    pub fn hash(&self) -> Vec<u8> {
        token_hash(&self.0)
    }
}

/// The stored form of a token. One fast hash is enough: there is nothing to guess in 256 random bits.
pub fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Seals documents at rest with XChaCha20-Poly1305 under the installation's key.
#[derive(Clone)]
pub struct Seal(XChaCha20Poly1305);

impl Seal {
    /// The seal of a 256-bit key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Seals `plain` for the place named `bound_to`: opened anywhere else it is refused.
    pub fn seal(&self, plain: &[u8], bound_to: &str, chance: &dyn Chance) -> Result<Vec<u8>> {
        let mut nonce = [0u8; 24];
        chance.fill(&mut nonce);
        let payload = Payload { msg: plain, aad: bound_to.as_bytes() };
        let nonce = XNonce::from(nonce);
        let sealed = self.0.encrypt(&nonce, payload).map_err(|_| Error::internal("sealing failed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Seal::seal`] sealed for the same place.
    pub fn open(&self, sealed: &[u8], bound_to: &str) -> Result<Zeroizing<Vec<u8>>> {
        let torn = || {
            let told = "a sealed document does not open: the seal key is not the one it was sealed with";
            Error::new(Kind::Internal, "seal-broken", told)
        };
        let (nonce, body) = sealed.split_first_chunk::<24>().ok_or_else(torn)?;
        let payload = Payload { msg: body, aad: bound_to.as_bytes() };
        let plain = self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| torn())?;
        Ok(Zeroizing::new(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seeded;

    #[tokio::test]
    async fn a_password_opens_only_its_own_hash_and_nobody_has_none() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse", &Seeded::new(1)).await.unwrap();
        assert!(passwords.verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("wrong horse", Some(hash)).await.unwrap());
        assert!(!passwords.verify("correct horse", None).await.unwrap());
    }

    #[test]
    fn a_sealed_document_opens_only_where_it_was_bound_to() {
        let (seal, chance) = (Seal::new(&[7; 32]), Seeded::new(2));
        let sealed = seal.seal(b"the key", "host_1", &chance).unwrap();
        assert_eq!(seal.open(&sealed, "host_1").unwrap().as_slice(), b"the key");
        assert!(seal.open(&sealed, "host_2").is_err());
        assert!(Seal::new(&[8; 32]).open(&sealed, "host_1").is_err());
    }

    #[test]
    fn a_token_says_its_kind_and_hides_in_its_hash() {
        let token = Token::fresh(TokenKind::ApiKey, &Seeded::new(3));
        assert_eq!(TokenKind::of(token.reveal()), Some(TokenKind::ApiKey));
        assert_eq!(token.reveal().len(), 4 + 64);
        assert_eq!(token.hash(), token_hash(token.reveal()));
    }
}
