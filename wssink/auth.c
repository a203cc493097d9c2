#include "wssink/auth.h"

#include "stage/io.h"
#include "stage/mem.h"
#include "wssink/wshandshake.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILE_BYTES ((size_t)64 << 10)

/* A reading under way. */
struct reading {
	struct auth auth;
	unsigned users; /* ways in which the server is told a user */
	char *why;	/* borrowed; AUTH_WHY_BYTES */
};

void
auth_init(struct auth *auth)
{
	*auth = (struct auth){0};
}

/* Frees text that may be secret; NULL is allowed. */
static void
free_secret(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

void
auth_fini(struct auth *auth)
{
	for (size_t i = 0; i < auth->header_count; i++)
		free_secret(auth->headers[i]);
	free_secret(auth->proxy_user);
	free_secret(auth->proxy_password);
	auth_init(auth);
}

/* Says what is wrong. Returns -1. */
static int wrong(struct reading *reading, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int
wrong(struct reading *reading, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(reading->why, AUTH_WHY_BYTES, format, args);
	va_end(args);
	return -1;
}

/* Adds a header that may be sent; takes it over. */
static int
add(struct reading *reading, char *header)
{
	struct auth *auth = &reading->auth;

	if (auth->header_count == AUTH_HEADERS) {
		free_secret(header);
		return wrong(reading, "more than %zu headers", AUTH_HEADERS);
	}
	auth->headers[auth->header_count++] = header;
	return 0;
}

/* Adds a header as a user has written it, at `where`. */
static int
add_header(struct reading *reading, const char *where, const char *header)
{
	static const char name[] = "Authorization:";
	const char *fault = wshandshake_header_fault(header);

	if (fault != NULL)
		return wrong(reading, "%s: %s", where, fault);
	if (strncasecmp(header, name, strlen(name)) == 0)
		reading->users++;
	return add(reading, mem_strdup(header));
}

/* Reads a file of text. Returns NULL, and has said why, if that failed; else
 * its *bytes, for free_file. */
static char *
read_file(struct reading *reading, const char *option, const char *path,
    size_t *bytes)
{
	char *text = io_read_file(path, FILE_BYTES, bytes);

	if (text == NULL) {
		(void)wrong(
		    reading, "%s %s: %s", option, path, strerror(errno));
		return NULL;
	}
	if (memchr(text, '\0', *bytes) == NULL)
		return text;
	(void)wrong(reading, "%s %s: a NUL in the text", option, path);
	OPENSSL_cleanse(text, *bytes);
	free(text);
	return NULL;
}

static void
free_file(char *text, size_t bytes)
{
	OPENSSL_cleanse(text, bytes);
	free(text);
}

/* Takes the headers in a file: one a line, empty lines left out. */
static int
read_headers(struct reading *reading, const char *path)
{
	char where[AUTH_WHY_BYTES];
	char *text, *line, *rest;
	unsigned number = 0;
	size_t bytes;
	int result = 0;

	if (path == NULL)
		return 0;
	text = read_file(reading, "--header-file", path, &bytes);
	if (text == NULL)
		return -1;
	rest = text;
	while (result == 0 && (line = strsep(&rest, "\n")) != NULL) {
		size_t n = strlen(line);

		number++;
		if (n > 0 && line[n - 1] == '\r')
			line[--n] = '\0';
		(void)snprintf(
		    where, sizeof(where), "--header-file %s:%u", path, number);
		if (n > 0)
			result = add_header(reading, where, line);
	}
	free_file(text, bytes);
	return result;
}

/* Reads a user and a password from the first line of a file. */
static int
read_user(struct reading *reading, const char *option, const char *path,
    char **user, char **password)
{
	char *text, *colon;
	size_t bytes;
	int result = 0;

	text = read_file(reading, option, path, &bytes);
	if (text == NULL)
		return -1;
	text[strcspn(text, "\r\n")] = '\0';
	colon = strchr(text, ':');
	if (colon == NULL) {
		result = wrong(reading,
		    "%s %s: the first line is not user:password", option, path);
	} else {
		*colon = '\0';
		*user = mem_strdup(text);
		*password = mem_strdup(colon + 1);
	}
	free_file(text, bytes);
	return result;
}

static int
add_basic(struct reading *reading, const char *user, const char *password)
{
	reading->users++;
	return add(reading, wshandshake_basic_auth(user, password));
}

static int
read_basic(struct reading *reading, const char *path)
{
	char *user, *password;
	int result;

	if (path == NULL)
		return 0;
	if (read_user(reading, "--basic-auth-file", path, &user, &password) ==
	    -1)
		return -1;
	result = add_basic(reading, user, password);
	free_secret(user);
	free_secret(password);
	return result;
}

/* Says whether `text` may be a token: visible ASCII. What servers give out is
 * not always what RFC 6750 allows. */
static bool
is_bearer(const char *text)
{
	size_t n = 0;

	while (text[n] > ' ' && text[n] <= '~')
		n++;
	return n > 0 && text[n] == '\0';
}

static int
read_bearer(struct reading *reading, const char *path)
{
	char *text, *header;
	size_t bytes;
	int result;

	if (path == NULL)
		return 0;
	text = read_file(reading, "--bearer-auth-file", path, &bytes);
	if (text == NULL)
		return -1;
	text[strcspn(text, "\r\n")] = '\0';
	header = mem_printf("Authorization: Bearer %s", text);
	if (!is_bearer(text)) {
		result = wrong(reading,
		    "--bearer-auth-file %s: the first line is not a token",
		    path);
		free_secret(header);
	} else {
		reading->users++;
		result = add(reading, header);
	}
	free_file(text, bytes);
	return result;
}

/* Reads all sources. */
static int
read_all(struct reading *reading, const struct auth_sources *sources)
{
	for (size_t i = 0; i < sources->header_count; i++)
		if (add_header(reading, "-H", sources->headers[i]) == -1)
			return -1;
	if (read_headers(reading, sources->header_file) == -1 ||
	    read_basic(reading, sources->basic_file) == -1 ||
	    read_bearer(reading, sources->bearer_file) == -1)
		return -1;
	if (sources->user != NULL &&
	    add_basic(reading, sources->user, sources->password) == -1)
		return -1;
	if (reading->users > 1)
		return wrong(reading,
		    "more than one of user in the URL, --basic-auth-file, "
		    "--bearer-auth-file, header Authorization");
	if (sources->proxy_file == NULL)
		return 0;
	return read_user(reading, "--proxy-auth-file", sources->proxy_file,
	    &reading->auth.proxy_user, &reading->auth.proxy_password);
}

int
auth_read(struct auth *auth, const struct auth_sources *sources,
    char why[AUTH_WHY_BYTES])
{
	struct reading reading = {.why = why};
	int result = read_all(&reading, sources);

	if (result == 0) {
		auth_fini(auth);
		*auth = reading.auth;
	} else {
		auth_fini(&reading.auth);
	}
	return result;
}
