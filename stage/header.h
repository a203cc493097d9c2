/*
 * The headers of an HTTP request that a user wants in it: what may be sent of
 * them. Pure.
 */
#ifndef STAGE_HEADER_H
#define STAGE_HEADER_H

#include <stdbool.h>
#include <stddef.h>

/* Says whether `bytes` of `text` are a token (RFC 9110, section 5.6.2). */
bool header_is_token(const char *text, size_t bytes);

/*
 * Checks one header: "Name: value" with a valid name (RFC 9110, section 5.1),
 * no control character in the value, and a name that a websocket handshake
 * does not write itself. Returns NULL if it may be sent, or what is wrong with
 * it (a constant string).
 */
const char *header_fault(const char *header);

#endif
