#include "stage/exitcode.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "stage/options.h"
#include "wssink/conn.h"
#include "wssink/wshandshake.h"
#include "wssink/wssink.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* A file of headers, or of a user and password, has at most this much. */
#define FILE_BYTES ((size_t)64 << 10)
/* Headers of the request, beside our own, at most. */
#define HEADERS 64

/* The command line, and the memory behind what it points to. */
struct command {
	struct wssink_options options;
	char *headers[HEADERS]; /* owned */
	size_t header_count;
	char *protocols; /* owned; NULL: none */
	const char *url;
	const char *header_file;
	const char *auth_file;
	const char *answer; /* to --help or --version, which is all then */
	enum log_level level;
};

/* Options without a letter. */
enum {
	OPTION_ACK = 256,
	OPTION_HEADER_FILE,
	OPTION_CACERT,
	OPTION_CERT,
	OPTION_KEY,
	OPTION_BASIC_AUTH_FILE,
	OPTION_PROTOCOL,
	OPTION_PROXY,
	OPTION_BINARY,
	OPTION_PING_INTERVAL,
	OPTION_PING_TIMEOUT,
	OPTION_CONNECT_TIMEOUT,
	OPTION_BACKOFF_MAX,
	OPTION_ACKS,
	OPTION_DRAIN_TIMEOUT,
	OPTION_VERSION,
};

static const struct option long_options[] = {
    {"url", required_argument, NULL, 'u'},
    {"ack", required_argument, NULL, OPTION_ACK},
    {"header", required_argument, NULL, 'H'},
    {"header-file", required_argument, NULL, OPTION_HEADER_FILE},
    {"insecure", no_argument, NULL, 'k'},
    {"cacert", required_argument, NULL, OPTION_CACERT},
    {"cert", required_argument, NULL, OPTION_CERT},
    {"key", required_argument, NULL, OPTION_KEY},
    {"basic-auth-file", required_argument, NULL, OPTION_BASIC_AUTH_FILE},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"proxy", required_argument, NULL, OPTION_PROXY},
    {"binary", no_argument, NULL, OPTION_BINARY},
    {"ping-interval", required_argument, NULL, OPTION_PING_INTERVAL},
    {"ping-timeout", required_argument, NULL, OPTION_PING_TIMEOUT},
    {"connect-timeout", required_argument, NULL, OPTION_CONNECT_TIMEOUT},
    {"backoff-max", required_argument, NULL, OPTION_BACKOFF_MAX},
    {"acks", required_argument, NULL, OPTION_ACKS},
    {"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "usage: wssink -u URL [options]\n"
    "\n"
    "Sends the events on standard input to a websocket server, one message\n"
    "each, again and again until the server has confirmed them.\n"
    "\n"
    "  -u, --url URL            ws://HOST[:PORT]/PATH or wss://...\n"
    "  --ack pong|write|app     when an event counts as delivered [pong]\n"
    "  -H, --header 'Name: value'  send this header too; may be repeated\n"
    "  --header-file FILE       headers from a file, one a line\n"
    "  --basic-auth-file FILE   user:password from a file\n"
    "  --protocol NAME          offer this subprotocol; may be repeated\n"
    "  --binary                 binary messages, not text\n"
    "  --cacert FILE            trust these certificates only (PEM)\n"
    "  --cert FILE --key FILE   our certificate and its key (PEM)\n"
    "  -k, --insecure           do not check the server's certificate\n"
    "  --proxy URL              connect through this proxy\n"
    "  --ping-interval S        ping at least this often [10]\n"
    "  --ping-timeout S         reconnect if no pong comes [5]\n"
    "  --connect-timeout S      from name to Upgrade [10]\n"
    "  --backoff-max S          longest wait between two tries [30]\n"
    "  --acks PATH              write acks to this FIFO\n"
    "  --drain-timeout S        give up this long after the end of input\n"
    "  -v, --verbose            log more\n"
    "  -q, --quiet              log warnings and errors only\n"
    "  -h, --help  --version\n"
    "\n"
    "Exit status: 0 all delivered, or stopped by a signal; 100 wrong usage;\n"
    "111 some events were not delivered. See wssink(1).\n";

/* Logs what is wrong with the command line. Returns -1. */
static int wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int
wrong(const char *format, ...)
{
	char text[LOG_LINE_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_error("%s; see wssink --help", text);
	return -1;
}

static int
take_seconds(const char *name, const char *text, const char *range,
    uint64_t min_ms, uint64_t max_ms, uint64_t *ms)
{
	if (number_parse_seconds(text, min_ms, max_ms, ms) == 0)
		return 0;
	return wrong(
	    "%s '%s': not a number of seconds from %s", name, text, range);
}

static int
take_ack(struct wslink_options *link, const char *name)
{
	static const char *const names[] = {
	    [WSLINK_ACK_PONG] = "pong",
	    [WSLINK_ACK_WRITE] = "write",
	    [WSLINK_ACK_APP] = "app",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0) {
			link->ack = (enum wslink_ack)i;
			return 0;
		}
	}
	return wrong("--ack '%s': not one of pong, write, app", name);
}

/* Takes one more header; `where` names what it came from. Its value, which may
 * be secret, is not shown. */
static int
take_header(struct command *command, const char *where, const char *header)
{
	const char *fault = wshandshake_header_fault(header);

	if (fault != NULL)
		return wrong("%s: %s", where, fault);
	if (command->header_count == HEADERS)
		return wrong("%s: more than %d headers", where, HEADERS);
	command->headers[command->header_count++] = mem_strdup(header);
	return 0;
}

static int
take_protocol(struct command *command, const char *name)
{
	const char *fault = wshandshake_protocol_fault(name);
	char *old = command->protocols;

	if (fault != NULL)
		return wrong("--protocol '%s': %s", name, fault);
	command->protocols =
	    old == NULL ? mem_strdup(name) : mem_printf("%s, %s", old, name);
	free(old);
	return 0;
}

/* Takes an option whose value is a number of seconds. */
static int
take_time(struct wssink_options *options, int option, const char *text)
{
	static const char range[] = "0.1 to 3600";
	struct wslink_options *link = &options->link;

	switch (option) {
	case OPTION_PING_INTERVAL:
		return take_seconds("--ping-interval", text, range, 100,
		    3600000, &link->ping_interval_ms);
	case OPTION_PING_TIMEOUT:
		return take_seconds("--ping-timeout", text, range, 100, 3600000,
		    &link->ping_timeout_ms);
	case OPTION_CONNECT_TIMEOUT:
		return take_seconds("--connect-timeout", text, range, 100,
		    3600000, &link->conn.connect_timeout_ms);
	case OPTION_BACKOFF_MAX:
		return take_seconds("--backoff-max", text, range, 100, 3600000,
		    &options->backoff_max_ms);
	default:
		options->has_drain_timeout = true;
		return take_seconds("--drain-timeout", text, "0 to 1000000", 0,
		    1000000000, &options->drain_timeout_ms);
	}
}

/* Takes one option. Returns 0, or -1 and has logged what is wrong with it. */
static int
take_option(struct command *command, int option, const char *value)
{
	struct wslink_options *link = &command->options.link;

	switch (option) {
	case 'u':
		command->url = value;
		return 0;
	case 'H':
		return take_header(command, "-H", value);
	case 'k':
		link->conn.is_insecure = true;
		return 0;
	case 'v':
		command->level = LOG_DEBUG;
		return 0;
	case 'q':
		command->level = LOG_WARN;
		return 0;
	case OPTION_ACK:
		return take_ack(link, value);
	case OPTION_HEADER_FILE:
		command->header_file = value;
		return 0;
	case OPTION_CACERT:
		link->conn.ca_file = value;
		return 0;
	case OPTION_CERT:
		link->conn.cert_file = value;
		return 0;
	case OPTION_KEY:
		link->conn.key_file = value;
		return 0;
	case OPTION_BASIC_AUTH_FILE:
		command->auth_file = value;
		return 0;
	case OPTION_PROTOCOL:
		return take_protocol(command, value);
	case OPTION_PROXY:
		link->conn.proxy = value;
		return 0;
	case OPTION_BINARY:
		link->is_binary = true;
		return 0;
	case OPTION_ACKS:
		command->options.acks_path = value;
		return 0;
	default:
		return take_time(&command->options, option, value);
	}
}

/* Takes the headers in a file: one a line, empty lines left out. */
static int
read_headers(struct command *command)
{
	const char *path = command->header_file;
	char *text, *line, *rest;
	size_t bytes;
	int result = 0;

	if (path == NULL)
		return 0;
	text = io_read_file(path, FILE_BYTES, &bytes);
	if (text == NULL)
		return wrong("--header-file %s: %s", path, strerror(errno));
	if (memchr(text, '\0', bytes) != NULL)
		result = wrong("--header-file %s: a NUL in the text", path);
	for (line = strtok_r(text, "\r\n", &rest); line != NULL && result == 0;
	     line = strtok_r(NULL, "\r\n", &rest))
		result = take_header(command, path, line);
	free(text);
	return result;
}

/* Takes a user and a password as the header that carries them. */
static void
take_auth(struct command *command, const char *user, const char *password)
{
	command->headers[command->header_count++] =
	    wshandshake_basic_auth(user, password);
}

static int
read_auth(struct command *command)
{
	const char *path = command->auth_file;
	char *text, *colon;
	size_t bytes;
	int result = 0;

	if (path == NULL)
		return 0;
	text = io_read_file(path, FILE_BYTES, &bytes);
	if (text == NULL)
		return wrong("--basic-auth-file %s: %s", path, strerror(errno));
	text[strcspn(text, "\r\n")] = '\0';
	colon = strchr(text, ':');
	if (colon == NULL) {
		result = wrong("--basic-auth-file %s: the first line is not "
			       "user:password",
		    path);
	} else {
		*colon = '\0';
		take_auth(command, text, colon + 1);
	}
	OPENSSL_cleanse(text, bytes);
	free(text);
	return result;
}

/* Says whether there is one way at most in which a user is named. */
static int
check_auth(const struct command *command)
{
	size_t ways = command->auth_file != NULL;

	if (command->options.link.url.user != NULL)
		ways++;
	for (size_t i = 0; i < command->header_count; i++)
		if (strncasecmp(command->headers[i], "Authorization:", 14) == 0)
			ways++;
	if (ways > 1)
		return wrong("more than one of user in the URL, "
			     "--basic-auth-file, header Authorization");
	if (command->header_count == HEADERS)
		return wrong("more than %d headers", HEADERS - 1);
	return 0;
}

/* Checks that a file named by an option can be read. */
static int
check_file(const char *option, const char *path)
{
	if (path == NULL || access(path, R_OK) == 0)
		return 0;
	return wrong("%s %s: %s", option, path, strerror(errno));
}

/* Checks and opens what the options name, once all are known. */
static int
complete(struct command *command)
{
	struct wslink_options *link = &command->options.link;
	const char *why;

	if (command->url == NULL)
		return wrong("-u is missing: the URL to send to");
	/* The URL is not shown: a password may stand in it. */
	if (conn_url_parse(&link->url, command->url, &why) == -1)
		return wrong("-u: %s", why);
	if (link->conn.key_file != NULL && link->conn.cert_file == NULL)
		return wrong("--key without --cert");
	if (check_file("--cacert", link->conn.ca_file) == -1 ||
	    check_file("--cert", link->conn.cert_file) == -1 ||
	    check_file("--key", link->conn.key_file) == -1)
		return -1;
	if (read_headers(command) == -1 || check_auth(command) == -1 ||
	    read_auth(command) == -1)
		return -1;
	if (link->url.user != NULL)
		take_auth(command, link->url.user, link->url.password);
	link->headers = (const char *const *)command->headers;
	link->header_count = command->header_count;
	link->protocols = command->protocols;
	return 0;
}

/* Names the option that getopt_long has found wrong. */
static int
wrong_option(char *const *argv, int found)
{
	if (optopt > 0 && optopt < OPTION_ACK)
		return wrong("-%c: %s", optopt,
		    found == ':' ? "its value is missing" : "no such option");
	return wrong("%s: %s", argv[optind - 1],
	    found == ':' ? "its value is missing" : "no such option");
}

enum outcome {
	OUTCOME_RUN,
	OUTCOME_TOLD,
	OUTCOME_WRONG
};

static enum outcome
parse(struct command *command, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(
		    argc, argv, ":u:H:kvqh", long_options, NULL)) != -1) {
		if (option == 'h' || option == OPTION_VERSION) {
			command->answer = option == 'h'
					      ? help
					      : "wssink " WALPIPE_VERSION "\n";
			return OUTCOME_TOLD;
		}
		if (option == ':' || option == '?') {
			(void)wrong_option(argv, option);
			return OUTCOME_WRONG;
		}
		if (take_option(command, option, optarg) == -1)
			return OUTCOME_WRONG;
	}
	if (optind < argc) {
		(void)wrong("'%s': not an option", argv[optind]);
		return OUTCOME_WRONG;
	}
	return complete(command) == -1 ? OUTCOME_WRONG : OUTCOME_RUN;
}

static void
command_fini(struct command *command)
{
	for (size_t i = 0; i < command->header_count; i++)
		free(command->headers[i]);
	free(command->protocols);
	conn_url_fini(&command->options.link.url);
}

int
main(int argc, char **argv)
{
	struct command command = {
	    .options =
		{
		    .link =
			{
			    .conn = {.connect_timeout_ms = 10000},
			    .ping_interval_ms = 10000,
			    .ping_timeout_ms = 5000,
			},
		    .backoff_max_ms = 30000,
		},
	    .level = LOG_INFO,
	};
	enum exitcode status = EXITCODE_AGAIN;
	struct wssink *sink = NULL;
	bool is_open = io_is_open(STDIN_FILENO);
	enum outcome outcome;

	mem_init();
	log_init("wssink", LOG_INFO);
	if (io_claim_stdio() == -1) {
		log_error("/dev/null: %m");
		return EXITCODE_AGAIN;
	}
	outcome = parse(&command, argc, argv);
	if (outcome == OUTCOME_RUN && !is_open) {
		log_error("standard input is closed");
		outcome = OUTCOME_WRONG;
	}
	if (outcome == OUTCOME_RUN) {
		log_init("wssink", command.level);
		sink = wssink_open(&command.options);
	}
	if (sink != NULL) {
		status = wssink_run(sink);
		wssink_close(sink);
	}
	if (outcome == OUTCOME_TOLD)
		status = options_answer(command.answer);
	else if (outcome == OUTCOME_WRONG)
		status = EXITCODE_FINAL;
	command_fini(&command);
	return (int)status;
}
