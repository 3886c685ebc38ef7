#!/bin/sh
# certs.sh FOLDER ADDRESS...: an authority, a server certificate for the addresses and a client certificate.
set -eu
folder=$1
shift
names=$(for address in "$@"; do printf 'IP:%s,' "$address"; done)
mkdir -p "$folder"
cd "$folder"

key() {
  openssl ecparam -genkey -name prime256v1 -noout | openssl pkcs8 -topk8 -nocrypt -out "$1-key.pem"
}

key ca
openssl req -x509 -new -key ca-key.pem -days 30 -subj /CN=muster-stand -out ca.pem \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign

sign() {
  key "$1"
  openssl req -new -key "$1-key.pem" -subj "/CN=muster-$1" -out "$1.csr"
  printf '%s\n' "$2" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile "$1.ext" \
    -out "$1.pem" 2>/dev/null
}

sign server "extendedKeyUsage=serverAuth
subjectAltName=${names%,}"
sign client extendedKeyUsage=clientAuth
