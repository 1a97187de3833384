#!/bin/sh
# Makes the cluster's CA, once, and a certificate for each process, at every start: a start renews them. Each process
# gets a directory with its own certificate and key and the CA's certificate, and the CA's key goes to none.
#
# CA_DIR: the CA. CERTS_DIR: a directory for each process, its name and host. OWNER: the user of the processes.
set -eu

[ -e "$CA_DIR/ca.pem" ] || realtime certs init --dir "$CA_DIR"
for dir in "$CERTS_DIR"/*/; do
    name=$(basename "$dir")
    # The operator's commands on the host come by the published port.
    realtime certs issue --dir "$CA_DIR" --name "$name" --host "$name" localhost 127.0.0.1
    cp "$CA_DIR/ca.pem" "$dir/ca.pem"
    cp "$CA_DIR/$name.pem" "$dir/cert.pem"
    cp "$CA_DIR/$name.key" "$dir/key.pem"
    chown "$OWNER" "$dir" "$dir"/*.pem
done
