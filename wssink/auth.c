#include "wssink/auth.h"

#include "stage/header.h"
#include "stage/io.h"
#include "stage/mem.h"
#include "wssink/secret.h"
#include "wssink/wshandshake.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define FILE_BYTES ((size_t)64 << 10)

/* The options that give a file, and the same as text. */
static const struct {
	const char *file;
	const char *text;
} options[] = {
    [AUTH_HEADER_FILE] = {"--header-file", "-H"},
    [AUTH_BASIC_FILE] = {"--basic-auth-file", "--basic-auth"},
    [AUTH_BEARER_FILE] = {"--bearer-auth-file", "--bearer-auth"},
    [AUTH_PROXY_FILE] = {"--proxy-auth-file", "--proxy-auth"},
};
_Static_assert(sizeof(options) / sizeof(options[0]) == AUTH_FILES,
    "each file has its options");

/* A reading under way. */
struct reading {
	struct auth auth;
	unsigned users; /* ways in which the server is told a user */
	char *why;	/* borrowed; AUTH_WHY_BYTES */
};

void
auth_init(struct auth *auth, const struct auth_sources *sources)
{
	*auth = (struct auth){.sources = sources};
}

void
auth_fini(struct auth *auth)
{
	for (size_t i = 0; i < auth->header_count; i++)
		secret_free(auth->headers[i]);
	for (size_t i = 0; i < AUTH_FILES; i++)
		secret_free(auth->texts[i]);
	secret_free(auth->proxy_user);
	secret_free(auth->proxy_password);
	auth_init(auth, auth->sources);
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
		secret_free(header);
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
	const char *fault = header_fault(header);

	if (fault != NULL)
		return wrong(reading, "%s: %s", where, fault);
	if (strncasecmp(header, name, strlen(name)) == 0)
		reading->users++;
	return add(reading, mem_strdup(header));
}

/* Says whether what was read before cannot be read again, as a pipe. */
static bool
is_spent(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 &&
	       (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode) ||
		   S_ISSOCK(st.st_mode));
}

/* Reads a file of text, or takes it from `before`. Returns 0 with *text set,
 * for secret_free: NULL if no such file is given. */
static int
read_file(struct reading *reading, const struct auth *before,
    enum auth_file file, char **text)
{
	const char *path = before->sources->files[file];
	char *read;
	size_t bytes;

	*text = NULL;
	if (path == NULL)
		return 0;
	if (before->texts[file] != NULL && is_spent(path)) {
		*text = mem_strdup(before->texts[file]);
		return 0;
	}
	read = io_read_file(path, FILE_BYTES, &bytes);
	if (read == NULL)
		return wrong(reading, "%s %s: %s", options[file].file, path,
		    strerror(errno));
	/* One that is being written anew, maybe; without what it had we would
	 * be somebody else. */
	if (bytes == 0 && before->texts[file] != NULL &&
	    before->texts[file][0] != '\0') {
		free(read);
		return wrong(reading, "%s %s: empty", options[file].file, path);
	}
	if (memchr(read, '\0', bytes) == NULL) {
		*text = read;
		return 0;
	}
	OPENSSL_cleanse(read, bytes);
	free(read);
	return wrong(
	    reading, "%s %s: a NUL in the text", options[file].file, path);
}

/* Takes the headers in a text: one a line, empty lines left out. */
static int
add_lines(struct reading *reading, const char *path, char *text)
{
	char where[AUTH_WHY_BYTES / 2];
	char *rest = text, *line;
	unsigned number = 0;
	int result = 0;

	while (result == 0 && (line = strsep(&rest, "\n")) != NULL) {
		size_t n = strlen(line);

		number++;
		if (n > 0 && line[n - 1] == '\r')
			line[--n] = '\0';
		(void)snprintf(where, sizeof(where), "%s %s:%u",
		    options[AUTH_HEADER_FILE].file, path, number);
		if (n > 0)
			result = add_header(reading, where, line);
	}
	return result;
}

/* Says that what a file has, or what was given in its place, is not as it
 * should be. */
static int
refuse_line(struct reading *reading, enum auth_file file, const char *wanted)
{
	const char *path = reading->auth.sources->files[file];

	if (path == NULL)
		return wrong(reading, "%s: not %s", options[file].text, wanted);
	return wrong(reading, "%s %s: the first line is not %s",
	    options[file].file, path, wanted);
}

/* Takes user and password from a text that is user:password. */
static int
split_user(struct reading *reading, enum auth_file file, char *text,
    const char **password)
{
	char *colon = strchr(text, ':');

	if (colon == NULL)
		return refuse_line(reading, file, "user:password");
	*colon = '\0';
	*password = colon + 1;
	return 0;
}

static int
add_basic(struct reading *reading, const char *user, const char *password)
{
	reading->users++;
	return add(reading, wshandshake_basic_auth(user, password));
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
add_bearer(struct reading *reading, const char *token)
{
	if (!is_bearer(token))
		return refuse_line(reading, AUTH_BEARER_FILE, "a token");
	reading->users++;
	return add(reading, mem_printf("Authorization: Bearer %s", token));
}

/* Takes what a file says; `text` may be changed. */
static int
take_text(struct reading *reading, enum auth_file file, char *text)
{
	struct auth *auth = &reading->auth;
	const char *password = NULL;

	if (file == AUTH_HEADER_FILE)
		return add_lines(reading, auth->sources->files[file], text);
	text[strcspn(text, "\r\n")] = '\0';
	if (file == AUTH_BEARER_FILE)
		return add_bearer(reading, text);
	if (split_user(reading, file, text, &password) == -1)
		return -1;
	if (file == AUTH_BASIC_FILE)
		return add_basic(reading, text, password);
	auth->proxy_user = mem_strdup(text);
	auth->proxy_password = mem_strdup(password);
	return 0;
}

/* Reads a file, if one is given, or the text in its place, and takes what it
 * says. */
static int
take_file(
    struct reading *reading, const struct auth *before, enum auth_file file)
{
	const char *given = before->sources->texts[file];
	char *text, *copy;
	int result;

	if (given != NULL && before->sources->files[file] != NULL)
		return wrong(reading, "more than one of %s, %s",
		    options[file].text, options[file].file);
	if (read_file(reading, before, file, &text) == -1)
		return -1;
	if (text == NULL && given != NULL)
		text = mem_strdup(given);
	if (text == NULL)
		return 0;
	reading->auth.texts[file] = text;
	copy = mem_strdup(text);
	result = take_text(reading, file, copy);
	/* It was cut in pieces by NULs, but is as long as the text still. */
	OPENSSL_cleanse(copy, strlen(text));
	free(copy);
	return result;
}

/* Reads all sources. */
static int
read_all(struct reading *reading, const struct auth *before)
{
	const struct auth_sources *sources = before->sources;

	for (size_t i = 0; i < sources->header_count; i++)
		if (add_header(reading, "-H", sources->headers[i]) == -1)
			return -1;
	for (enum auth_file file = 0; file < AUTH_FILES; file++)
		if (take_file(reading, before, file) == -1)
			return -1;
	if (sources->user != NULL &&
	    add_basic(reading, sources->user, sources->password) == -1)
		return -1;
	if (reading->users > 1)
		return wrong(reading,
		    "more than one of user in the URL, --basic-auth, "
		    "--basic-auth-file, --bearer-auth, --bearer-auth-file, "
		    "header Authorization");
	return 0;
}

int
auth_read(struct auth *auth, char why[AUTH_WHY_BYTES])
{
	struct reading reading = {.why = why};
	int result;

	auth_init(&reading.auth, auth->sources);
	result = read_all(&reading, auth);
	if (result == 0) {
		auth_fini(auth);
		*auth = reading.auth;
	} else {
		auth_fini(&reading.auth);
	}
	return result;
}
