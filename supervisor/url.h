/*
 * Where a sink may be sent, as a configuration has it. Pure.
 */
#ifndef SUPERVISOR_URL_H
#define SUPERVISOR_URL_H

#include <stdbool.h>

/*
 * Says whether `url` is one that a sink can be given: ws:// or wss://, a host,
 * no user or password, no secret in its query but as ${env:NAME}. If not, *why
 * says what is wrong (a constant string).
 */
bool url_check(const char *url, const char **why);

/*
 * The same for a proxy: no scheme or one of those that wssink(1) knows, a host,
 * no user or password.
 */
bool url_proxy_check(const char *url, const char **why);

#endif
