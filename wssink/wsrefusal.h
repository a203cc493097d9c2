/*
 * A refused Upgrade: what is told of it, and how long the server wants to be
 * left alone. Pure text work; all of it is the server's, so all of it is
 * escaped and cut.
 */
#ifndef WSSINK_WSREFUSAL_H
#define WSSINK_WSREFUSAL_H

#include "wssink/wshandshake.h"

#include <stddef.h>
#include <stdint.h>

/* Of the response's body, as much is told at most. */
#define WSREFUSAL_BODY_BYTES ((size_t)120)
/* Longest text, NUL included. */
#define WSREFUSAL_BYTES 640
/* Longest wait that a server is granted. */
#define WSREFUSAL_WAIT_MAX_MS ((uint64_t)3600 * 1000)

/*
 * Writes what a response with a status other than 101 says: the status, what
 * there is so far of the body at `body` (the size line of a chunked one left
 * out) and, of a redirection (RFC 9110, section 15.4), where to, and that it is
 * not followed (RFC 6455, section 4.1 leaves that to the client).
 */
void wsrefusal_tell(char text[WSREFUSAL_BYTES],
    const struct wshandshake_reply *reply, const uint8_t *body,
    size_t body_bytes);

/*
 * Returns for how many ms the server wants no other try: Retry-After (RFC
 * 9110, section 10.2.3: seconds, or a date, which is held against `now_ns`,
 * CLOCK_REALTIME) of a 429 or 503; 0 if it says nothing, or nothing that can be
 * understood; WSREFUSAL_WAIT_MAX_MS at most.
 */
uint64_t wsrefusal_wait_ms(
    const struct wshandshake_reply *reply, int64_t now_ns);

#endif
