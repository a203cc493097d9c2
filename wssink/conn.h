/*
 * One connection to the server: DNS, TCP, a proxy and TLS, all of it by
 * libcurl, which only connects here (CURLOPT_CONNECT_ONLY); what travels on
 * the connection is the caller's. Nothing blocks: libcurl's descriptors and
 * timeouts stand in the caller's poll loop. No file but conn.c includes
 * curl.h.
 *
 * It knows no websocket, tries once per conn_start, and has no deadline of its
 * own for a connection that is up.
 */
#ifndef WSSINK_CONN_H
#define WSSINK_CONN_H

#include "stage/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest text that conn_why returns, NUL included. */
#define CONN_WHY_BYTES 512

/* A websocket URL in its parts. All strings are owned. */
struct conn_url {
	char *plain;	/* as http or https, without user and password */
	char *shown;	/* for the log: no user, password or query, and no
			 * path that may be secret */
	char *host;	/* the Host header's value */
	char *target;	/* path and query, visible ASCII */
	char *user;	/* NULL: none in the URL */
	char *password; /* NULL together with user; else maybe "" */
};

/*
 * Parses a ws:// or wss:// URL, whose path is secret or not. Returns 0, and the
 * caller gives *url to conn_url_fini; or -1 with *why saying what is wrong (a
 * constant string).
 */
int conn_url_parse(
    struct conn_url *url, const char *text, bool hides_path, const char **why);

/* Frees the strings. */
void conn_url_fini(struct conn_url *url);

/* Returns what is wrong with the URL of a proxy, a constant string, or NULL if
 * libcurl can use it; "" is no proxy, and can. */
const char *conn_proxy_fault(const char *text);

/*
 * Sets *file and *directory to where the certificates are that libcurl trusts
 * if the options name no others; constant strings, or NULL.
 */
void conn_trusted(const char **file, const char **directory);

/* How to connect. The strings are borrowed as long as the conn lives. */
struct conn_options {
	const char *proxy;	     /* URL; NULL: as the environment says */
	const char *ca_file;	     /* NULL: the system's */
	const char *cert_file;	     /* PEM; NULL: no client certificate */
	const char *key_file;	     /* NULL: the key is in cert_file */
	bool is_insecure;	     /* accept any certificate */
	uint64_t connect_timeout_ms; /* DNS, TCP, proxy and TLS together */
};

/* Who we are to a proxy. */
struct conn_user {
	const char *name; /* NULL: as the proxy's URL says */
	const char *password;
};

struct conn;

/*
 * Makes a connection that is down. Returns it, for conn_free, or NULL if
 * libcurl cannot be set up.
 */
struct conn *conn_new(
    const struct conn_options *options, const struct conn_url *url);

/* Closes and frees it; NULL is allowed. */
void conn_free(struct conn *conn);

/*
 * Begins to connect; the connection was down. `user` is borrowed for the call.
 * Returns 0, or -1 with conn_why set.
 */
int conn_start(struct conn *conn, const struct conn_user *user);

/* Closes the connection, if there is one or one is being made. */
void conn_stop(struct conn *conn);

/*
 * States what the connection waits for in this turn of the loop: while it is
 * being made what libcurl asks for, then to read, and to write if `writing`.
 */
void conn_watch(struct conn *conn, struct loop *loop, bool writing);

enum conn_status {
	CONN_CONNECTING,
	CONN_UP,   /* may be read and written */
	CONN_DOWN, /* stopped, or failed: see conn_why */
};

/* Does what poll found ready. Returns how the connection then is. */
enum conn_status conn_turn(struct conn *conn, const struct loop *loop);

/*
 * Says whether there may be something to read: poll said so, or libcurl may
 * hold bytes of TLS that poll cannot see. Only while it is up.
 */
bool conn_is_readable(const struct conn *conn, const struct loop *loop);

/*
 * Reads up to `room` bytes. Returns 0 with *bytes set, 0 if nothing is there
 * now; or -1 with conn_why set when the server closed or the connection broke.
 */
int conn_recv(struct conn *conn, void *to, size_t room, size_t *bytes);

/*
 * Writes some of `bytes` (at least 1). Returns 0 with *sent set, 0 if nothing
 * could be written now: then the next call brings the same bytes again, with
 * more behind them at most. Returns -1 with conn_why set when the connection
 * broke.
 */
int conn_send(struct conn *conn, const void *data, size_t bytes, size_t *sent);

/*
 * Lets the connection, if it is up, fail when the peer's TCP has acknowledged
 * nothing for `ms`; see io_set_silence_timeout. Cheap if nothing changes.
 */
void conn_allow_silence(struct conn *conn, uint64_t ms);

/* Returns why the connection last failed. Borrowed until the next call. */
const char *conn_why(const struct conn *conn);

/* Says whether the last failure of conn_recv or conn_send was that the peer
 * has closed or reset the connection. */
bool conn_was_hung_up(const struct conn *conn);

#endif
