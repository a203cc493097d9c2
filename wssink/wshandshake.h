/*
 * The opening handshake of a websocket, RFC 6455 section 4.1, the client's
 * part: writes the Upgrade request and checks the response. Pure byte work: no
 * descriptor and no randomness (the nonce is given by the caller). It asks for
 * no extension, follows no redirect and answers no challenge.
 */
#ifndef WSSINK_WSHANDSHAKE_H
#define WSSINK_WSHANDSHAKE_H

#include "stage/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WSHANDSHAKE_NONCE_BYTES 16
/* The nonce in base64, NUL included. */
#define WSHANDSHAKE_KEY_BYTES 25
/* A SHA-1 in base64, NUL included. */
#define WSHANDSHAKE_ACCEPT_BYTES 29
/* Longest response header that is read. */
#define WSHANDSHAKE_HEAD_BYTES ((size_t)16 << 10)

/* What is asked for. All strings are borrowed for the call. */
struct wshandshake_request {
	const char *host;	    /* the Host header's value */
	const char *target;	    /* path and query, from its slash */
	const char *protocols;	    /* subprotocols, "a, b"; NULL: none */
	const char *const *headers; /* more of them, as "Name: value" */
	size_t header_count;
};

/* What a response said. The pointers borrow from the response's bytes. */
struct wshandshake_reply {
	unsigned status;      /* 100..999; 0 if there was none to read */
	size_t head_bytes;    /* up to the body or the first frame; 0 if the
			       * header does not end */
	const char *reason;   /* the status line's text */
	size_t reason_bytes;  /* may be 0 */
	const char *protocol; /* the subprotocol chosen; NULL: none */
	size_t protocol_bytes;
	const char *location; /* of a status that is not 101; NULL: none */
	size_t location_bytes;
	const char *retry_after; /* likewise */
	size_t retry_after_bytes;
	bool is_chunked; /* its body is sent in chunks */
	const char *why; /* WSHANDSHAKE_REFUSED: a constant string */
};

enum wshandshake_status {
	WSHANDSHAKE_READY,   /* the connection is a websocket from here on */
	WSHANDSHAKE_PARTIAL, /* well formed so far, more bytes are needed */
	WSHANDSHAKE_REFUSED, /* no websocket, or none that may be used */
};

/* Writes the nonce, 16 random bytes, as the request's key. */
void wshandshake_key(char key[WSHANDSHAKE_KEY_BYTES],
    const uint8_t nonce[WSHANDSHAKE_NONCE_BYTES]);

/*
 * Writes the value of Sec-WebSocket-Accept that answers `key`. Returns 0, or
 * -1 if the library has no SHA-1 to offer.
 */
int wshandshake_accept(char accept[WSHANDSHAKE_ACCEPT_BYTES], const char *key);

/* Returns what is wrong with the name of a subprotocol, a token (a constant
 * string), or NULL. */
const char *wshandshake_protocol_fault(const char *name);

/*
 * Returns the header "Authorization: Basic ..." for a user and a password (RFC
 * 7617); the caller frees it.
 */
char *wshandshake_basic_auth(const char *user, const char *password);

/*
 * Appends the request to `out`. Returns 0, or -1 if that has no room. The
 * headers passed header_fault; host and target are visible ASCII.
 */
int wshandshake_put(struct buf *out, const struct wshandshake_request *request,
    const char key[WSHANDSHAKE_KEY_BYTES]);

/*
 * Checks the response at the front of `in` to a request with `key` and
 * `protocols` (as in the request). All of *reply is set as far as it is known.
 *
 * Interim responses (1xx other than 101; RFC 9110, section 15.2) in front of it
 * are left out.
 *
 * WSHANDSHAKE_READY: what follows behind reply->head_bytes is the first frame.
 * WSHANDSHAKE_REFUSED: a status that is not 101; no "Upgrade: websocket"; no
 * token "upgrade" in Connection; a Sec-WebSocket-Accept that is missing, twice
 * there or not the answer to the key; any extension; a subprotocol that was
 * not asked for; a header over WSHANDSHAKE_HEAD_BYTES, interim ones
 * included; or no HTTP/1.1 at all.
 */
enum wshandshake_status wshandshake_check(const uint8_t *in, size_t in_bytes,
    const char key[WSHANDSHAKE_KEY_BYTES], const char *protocols,
    struct wshandshake_reply *reply);

#endif
