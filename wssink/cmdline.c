#include "wssink/cmdline.h"

#include "stage/envtext.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "stage/options.h"
#include "wssink/pace.h"
#include "wssink/pem.h"
#include "wssink/secret.h"
#include "wssink/window.h"
#include "wssink/wshandshake.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest and longest time that an option takes, but for the last. */
#define MIN_TIME_MS 100
#define MAX_TIME_MS 3600000
#define MAX_DRAIN_MS 1000000000

/* Options without a letter. */
enum option_code {
	OPTION_ACK = 256,
	OPTION_HEADER_FILE,
	OPTION_CACERT,
	OPTION_CERT,
	OPTION_KEY,
	OPTION_BASIC_AUTH,
	OPTION_BEARER_AUTH,
	OPTION_PROXY_AUTH,
	OPTION_BASIC_AUTH_FILE,
	OPTION_BEARER_AUTH_FILE,
	OPTION_PROTOCOL,
	OPTION_PROXY,
	OPTION_PROXY_AUTH_FILE,
	OPTION_BINARY,
	OPTION_PING_INTERVAL,
	OPTION_PING_TIMEOUT,
	OPTION_CONNECT_TIMEOUT,
	OPTION_BACKOFF_MAX,
	OPTION_ACKS,
	OPTION_DRAIN_TIMEOUT,
	OPTION_ON_CONNECT_REPLAY,
	OPTION_RATE,
	OPTION_SANDBOX,
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
    {"basic-auth", required_argument, NULL, OPTION_BASIC_AUTH},
    {"bearer-auth", required_argument, NULL, OPTION_BEARER_AUTH},
    {"proxy-auth", required_argument, NULL, OPTION_PROXY_AUTH},
    {"basic-auth-file", required_argument, NULL, OPTION_BASIC_AUTH_FILE},
    {"bearer-auth-file", required_argument, NULL, OPTION_BEARER_AUTH_FILE},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"proxy", required_argument, NULL, OPTION_PROXY},
    {"proxy-auth-file", required_argument, NULL, OPTION_PROXY_AUTH_FILE},
    {"binary", no_argument, NULL, OPTION_BINARY},
    {"ping-interval", required_argument, NULL, OPTION_PING_INTERVAL},
    {"ping-timeout", required_argument, NULL, OPTION_PING_TIMEOUT},
    {"connect-timeout", required_argument, NULL, OPTION_CONNECT_TIMEOUT},
    {"backoff-max", required_argument, NULL, OPTION_BACKOFF_MAX},
    {"acks", required_argument, NULL, OPTION_ACKS},
    {"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
    {"on-connect-replay", required_argument, NULL, OPTION_ON_CONNECT_REPLAY},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"sandbox", no_argument, NULL, OPTION_SANDBOX},
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
    "  --bearer-auth-file FILE  token from a file\n"
    "  --basic-auth 'USER:${env:PASSWORD}'  --bearer-auth '${env:TOKEN}'\n"
    "  --proxy-auth 'USER:${env:PASSWORD}'  from the environment\n"
    "  --protocol NAME          offer this subprotocol; may be repeated\n"
    "  --binary                 binary messages, not text\n"
    "  --cacert FILE            trust these certificates only (PEM)\n"
    "  --cert FILE --key FILE   our certificate and its key (PEM)\n"
    "  -k, --insecure           do not check the server's certificate\n"
    "  --proxy URL              connect through this proxy\n"
    "  --proxy-auth-file FILE   user:password for it from a file\n"
    "  --ping-interval S        ping at least this often [10]\n"
    "  --ping-timeout S         reconnect if no pong comes [5]\n"
    "  --connect-timeout S      from name to Upgrade [10]\n"
    "  --backoff-max S          longest wait between two tries [30]\n"
    "  --acks PATH              write acks to this FIFO\n"
    "  --on-connect-replay K    after an abnormal end send the last K\n"
    "                           confirmed events again [0]\n"
    "  --rate N                 send N events a second at most\n"
    "  --drain-timeout S        give up this long after the end of input\n"
    "  --sandbox                give up all rights that are not needed\n"
    "  -v, --verbose            log more\n"
    "  -q, --quiet              log warnings and errors only\n"
    "  -h, --help  --version\n"
    "\n"
    "Exit status: 0 all delivered, or stopped by a signal; 100 wrong usage;\n"
    "111 some events were not delivered. See wssink(1).\n";

void
cmdline_init(struct cmdline *cmdline, struct control *control)
{
	*cmdline = (struct cmdline){
	    .options.control = control,
	    .options.delivery.link.conn.connect_timeout_ms = 10000,
	    .options.delivery.link.ping_interval_ms = 10000,
	    .options.delivery.link.ping_timeout_ms = 5000,
	    .options.delivery.backoff_max_ms = 30000,
	    .level = LOG_INFO,
	};
}

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

/* Takes a text in which ${env:NAME} stands for a variable; *to owns it. */
static int
take_text(const char *name, const char *text, enum envtext_form form, char **to)
{
	char why[ENVTEXT_WHY_BYTES];

	secret_free(*to);
	*to = envtext_expand(text, form, why);
	/* The text is not shown: it may be a secret. */
	return *to == NULL ? wrong("%s: %s", name, why) : 0;
}

/* Takes one more header of the command line. */
static int
take_header(struct cmdline *cmdline, char *header)
{
	char **to = &cmdline->headers[cmdline->header_count];
	int result;

	if (cmdline->header_count == AUTH_HEADERS)
		return wrong("more than %zu headers", AUTH_HEADERS);
	result = take_text("-H", header, ENVTEXT_PLAIN, to);
	if (result == 0)
		cmdline->header_count++;
	secret_hide_header(header);
	return result;
}

static int
take_url(struct cmdline *cmdline, char *url)
{
	int result = take_text("-u", url, ENVTEXT_URL, &cmdline->url);
	const char *host = strstr(url, "://");
	const char *path = host == NULL ? NULL : strchr(host + 3, '/');
	const char *secret = path == NULL ? NULL : strstr(path, "${env:");

	cmdline->hides_path =
	    secret != NULL && secret < path + strcspn(path, "?");
	secret_hide_user(url);
	return result;
}

/* Takes a user or a token that stands on the command line, not in a file. */
static int
take_user(
    struct cmdline *cmdline, const char *name, enum auth_file file, char *text)
{
	char **to = &cmdline->users[file];
	int result = take_text(name, text, ENVTEXT_PLAIN, to);

	cmdline->sources.texts[file] = *to;
	secret_hide(text);
	return result;
}

static int
take_proxy(struct cmdline *cmdline, char *url)
{
	const char *fault = conn_proxy_fault(url);

	secret_free(cmdline->proxy);
	cmdline->proxy = mem_strdup(url);
	cmdline->options.delivery.link.conn.proxy = cmdline->proxy;
	secret_hide_user(url);
	/* Not shown, as that of -u is not. */
	return fault == NULL ? 0 : wrong("--proxy: %s", fault);
}

static int
take_protocol(struct cmdline *cmdline, const char *name)
{
	const char *fault = wshandshake_protocol_fault(name);
	char *old = cmdline->protocols;

	if (fault != NULL)
		return wrong("--protocol '%s': %s", name, fault);
	cmdline->protocols =
	    old == NULL ? mem_strdup(name) : mem_printf("%s, %s", old, name);
	free(old);
	return 0;
}

/* Takes an option whose value is a number of seconds. */
static int
take_time(struct wssink_options *options, int option, const char *text)
{
	struct wslink_options *link = &options->delivery.link;

	const struct {
		int option;
		const char *name;
		uint64_t *ms;
	} table[] = {
	    {OPTION_PING_INTERVAL, "--ping-interval", &link->ping_interval_ms},
	    {OPTION_PING_TIMEOUT, "--ping-timeout", &link->ping_timeout_ms},
	    {OPTION_CONNECT_TIMEOUT, "--connect-timeout",
		&link->conn.connect_timeout_ms},
	    {OPTION_BACKOFF_MAX, "--backoff-max",
		&options->delivery.backoff_max_ms},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].option == option)
			return take_seconds(table[i].name, text, "0.1 to 3600",
			    MIN_TIME_MS, MAX_TIME_MS, table[i].ms);
	options->has_drain_timeout = true;
	return take_seconds("--drain-timeout", text, "0 to 1000000", 0,
	    MAX_DRAIN_MS, &options->drain_timeout_ms);
}

/* Takes an option whose value is a whole number. */
static int
take_number(struct wssink_options *options, int option, const char *text)
{
	uint64_t n;

	if (option == OPTION_RATE) {
		if (number_parse(
			text, 1, PACE_RATE_MAX, &options->delivery.rate) == 0)
			return 0;
		return wrong(
		    "--rate '%s': not a number from 1 to 1000000000", text);
	}
	if (number_parse(text, 0, WINDOW_KEPT_EVENTS, &n) == -1)
		return wrong("--on-connect-replay '%s': not a number from 0 "
			     "to %zu",
		    text, WINDOW_KEPT_EVENTS);
	options->delivery.replay = (size_t)n;
	return 0;
}

/* Takes an option that names a file. Returns whether it is one. */
static bool
take_file(struct cmdline *cmdline, int option, const char *path)
{
	struct conn_options *conn = &cmdline->options.delivery.link.conn;
	struct auth_sources *sources = &cmdline->sources;
	const struct {
		int option;
		const char **path;
	} table[] = {
	    {OPTION_HEADER_FILE, &sources->files[AUTH_HEADER_FILE]},
	    {OPTION_BASIC_AUTH_FILE, &sources->files[AUTH_BASIC_FILE]},
	    {OPTION_BEARER_AUTH_FILE, &sources->files[AUTH_BEARER_FILE]},
	    {OPTION_PROXY_AUTH_FILE, &sources->files[AUTH_PROXY_FILE]},
	    {OPTION_CACERT, &conn->ca_file},
	    {OPTION_CERT, &conn->cert_file},
	    {OPTION_KEY, &conn->key_file},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].option != option)
			continue;
		*table[i].path = path;
		return true;
	}
	return false;
}

/* Takes one option. Returns 0, or -1 and has logged what is wrong with it. */
static int
take_option(struct cmdline *cmdline, int option, char *value)
{
	struct wslink_options *link = &cmdline->options.delivery.link;

	if (take_file(cmdline, option, value))
		return 0;

	switch (option) {
	case 'u':
		return take_url(cmdline, value);
	case 'H':
		return take_header(cmdline, value);
	case 'k':
		link->conn.is_insecure = true;
		return 0;
	case 'v':
		cmdline->level = LOG_DEBUG;
		return 0;
	case 'q':
		cmdline->level = LOG_WARN;
		return 0;
	case OPTION_ACK:
		return take_ack(link, value);
	case OPTION_PROTOCOL:
		return take_protocol(cmdline, value);
	case OPTION_BASIC_AUTH:
		return take_user(
		    cmdline, "--basic-auth", AUTH_BASIC_FILE, value);
	case OPTION_BEARER_AUTH:
		return take_user(
		    cmdline, "--bearer-auth", AUTH_BEARER_FILE, value);
	case OPTION_PROXY_AUTH:
		return take_user(
		    cmdline, "--proxy-auth", AUTH_PROXY_FILE, value);
	case OPTION_PROXY:
		return take_proxy(cmdline, value);
	case OPTION_BINARY:
		link->is_binary = true;
		return 0;
	case OPTION_RATE:
	case OPTION_ON_CONNECT_REPLAY:
		return take_number(&cmdline->options, option, value);
	case OPTION_ACKS:
		cmdline->options.acks_path = value;
		return 0;
	case OPTION_SANDBOX:
		cmdline->sandbox = true;
		return 0;
	default:
		return take_time(&cmdline->options, option, value);
	}
}

/* Reads a first time what will be read with each try, so that what is wrong
 * with it is told at the start. */
static int
read_auth(struct cmdline *cmdline)
{
	char why[AUTH_WHY_BYTES];

	auth_init(&cmdline->auth, &cmdline->sources);
	if (auth_read(&cmdline->auth, why) == -1)
		return wrong("%s", why);
	cmdline->options.delivery.link.auth = &cmdline->auth;
	return 0;
}

/* Checks and reads the files that the options name. */
static int
read_files(struct cmdline *cmdline)
{
	const struct conn_options *conn = &cmdline->options.delivery.link.conn;
	char why[PEM_WHY_BYTES];

	if (pem_check(conn->ca_file, conn->cert_file, conn->key_file, why) ==
	    -1)
		return wrong("%s", why);
	return read_auth(cmdline);
}

/*
 * Says whether what is wrong with the files may be right the next time. Under a
 * supervisor, who has looked at them, a sink is started again at any moment,
 * and may come while one of them is written, or between that of a certificate
 * and that of its key.
 */
static bool
may_pass(const struct cmdline *cmdline)
{
	const struct conn_options *conn = &cmdline->options.delivery.link.conn;
	const struct auth_sources *sources = &cmdline->sources;
	bool has_files = conn->ca_file != NULL || conn->cert_file != NULL;

	for (size_t i = 0; i < AUTH_FILES; i++)
		has_files = has_files || sources->files[i] != NULL;
	return has_files && control_is_open(cmdline->options.control);
}

/* Checks what the options say together, once all are known. */
static int
complete(struct cmdline *cmdline)
{
	struct wslink_options *link = &cmdline->options.delivery.link;
	const char *why;
	int parsed;

	if (cmdline->url == NULL)
		return wrong("-u is missing: the URL to send to");
	if (cmdline->options.acks_path != NULL &&
	    control_is_open(cmdline->options.control))
		return wrong("--acks: under a supervisor the acks go back "
			     "where the events come from");
	parsed =
	    conn_url_parse(&link->url, cmdline->url, cmdline->hides_path, &why);
	/* The URL is not shown: a password may stand in it. */
	if (parsed == -1)
		return wrong("-u: %s", why);
	cmdline->sources.headers = (const char *const *)cmdline->headers;
	cmdline->sources.header_count = cmdline->header_count;
	cmdline->sources.user = link->url.user;
	cmdline->sources.password = link->url.password;
	link->protocols = cmdline->protocols;
	if (link->conn.key_file != NULL && link->conn.cert_file == NULL)
		return wrong("--key without --cert");
	/* Its reader makes it anew, after us maybe: another file each time. */
	if (cmdline->sandbox && cmdline->options.acks_path != NULL)
		return wrong("--sandbox with --acks: a FIFO cannot be "
			     "permitted before it is there");
	return 0;
}

enum cmdline_outcome
cmdline_parse(struct cmdline *cmdline, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(
		    argc, argv, ":u:H:kvqh", long_options, NULL)) != -1) {
		if (option == 'h' || option == OPTION_VERSION) {
			cmdline->answer = option == 'h'
					      ? help
					      : "wssink " WALPIPE_VERSION "\n";
			return CMDLINE_TOLD;
		}
		if (option == ':' || option == '?') {
			options_log_wrong(
			    option, argv, long_options, "wssink --help");
			return CMDLINE_WRONG;
		}
		if (take_option(cmdline, option, optarg) == -1)
			return CMDLINE_WRONG;
	}
	if (optind < argc) {
		(void)wrong("'%s': not an option", argv[optind]);
		return CMDLINE_WRONG;
	}
	if (complete(cmdline) == -1)
		return CMDLINE_WRONG;
	if (read_files(cmdline) == -1)
		return may_pass(cmdline) ? CMDLINE_LATER : CMDLINE_WRONG;
	return CMDLINE_RUN;
}

void
cmdline_fini(struct cmdline *cmdline)
{
	for (size_t i = 0; i < cmdline->header_count; i++)
		secret_free(cmdline->headers[i]);
	for (size_t i = 0; i < AUTH_FILES; i++)
		secret_free(cmdline->users[i]);
	auth_fini(&cmdline->auth);
	free(cmdline->protocols);
	secret_free(cmdline->proxy);
	secret_free(cmdline->url);
	conn_url_fini(&cmdline->options.delivery.link.url);
}
