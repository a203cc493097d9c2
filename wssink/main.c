#include "stage/envtext.h"
#include "stage/exitcode.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "stage/options.h"
#include "wssink/auth.h"
#include "wssink/conn.h"
#include "wssink/pace.h"
#include "wssink/pem.h"
#include "wssink/secret.h"
#include "wssink/window.h"
#include "wssink/wshandshake.h"
#include "wssink/wssink.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The command line, and the memory behind what it points to. */
struct command {
	struct wssink_options options;
	char *headers[AUTH_HEADERS]; /* owned */
	size_t header_count;
	char *users[AUTH_FILES]; /* owned; NULL: not given as text */
	struct auth_sources sources;
	struct auth auth;
	struct permit permit;
	bool sandbox;
	char *protocols;    /* owned; NULL: none */
	char *proxy;	    /* owned; NULL: none */
	char *url;	    /* owned; NULL: none */
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
take_header(struct command *command, char *header)
{
	char **to = &command->headers[command->header_count];
	int result;

	if (command->header_count == AUTH_HEADERS)
		return wrong("more than %zu headers", AUTH_HEADERS);
	result = take_text("-H", header, ENVTEXT_PLAIN, to);
	if (result == 0)
		command->header_count++;
	secret_hide_header(header);
	return result;
}

static int
take_url(struct command *command, char *url)
{
	int result = take_text("-u", url, ENVTEXT_URL, &command->url);

	secret_hide_user(url);
	return result;
}

/* Takes a user or a token that stands on the command line, not in a file. */
static int
take_user(
    struct command *command, const char *name, enum auth_file file, char *text)
{
	char **to = &command->users[file];
	int result = take_text(name, text, ENVTEXT_PLAIN, to);

	command->sources.texts[file] = *to;
	secret_hide(text);
	return result;
}

static int
take_proxy(struct command *command, char *url)
{
	const char *fault = conn_proxy_fault(url);

	free(command->proxy);
	command->proxy = mem_strdup(url);
	command->options.delivery.link.conn.proxy = command->proxy;
	secret_hide_user(url);
	/* Not shown, as that of -u is not. */
	return fault == NULL ? 0 : wrong("--proxy: %s", fault);
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
	struct wslink_options *link = &options->delivery.link;

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
		    &options->delivery.backoff_max_ms);
	default:
		options->has_drain_timeout = true;
		return take_seconds("--drain-timeout", text, "0 to 1000000", 0,
		    1000000000, &options->drain_timeout_ms);
	}
}

/* Takes an option whose value is a whole number. */
static int
take_number(struct wssink_options *options, int option, const char *text)
{
	uint64_t n;

	if (option == OPTION_RATE)
		return number_parse(
			   text, 1, PACE_RATE_MAX, &options->delivery.rate) == 0
			   ? 0
			   : wrong("--rate '%s': not a number from 1 to "
				   "1000000000",
				 text);
	if (number_parse(text, 0, WINDOW_KEPT_EVENTS, &n) == -1)
		return wrong("--on-connect-replay '%s': not a number from 0 "
			     "to %zu",
		    text, WINDOW_KEPT_EVENTS);
	options->delivery.replay = (size_t)n;
	return 0;
}

/* Takes an option that names a file. Returns whether it is one. */
static bool
take_file(struct command *command, int option, const char *path)
{
	struct conn_options *conn = &command->options.delivery.link.conn;
	struct auth_sources *sources = &command->sources;
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
take_option(struct command *command, int option, char *value)
{
	struct wslink_options *link = &command->options.delivery.link;

	if (take_file(command, option, value))
		return 0;

	switch (option) {
	case 'u':
		return take_url(command, value);
	case 'H':
		return take_header(command, value);
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
	case OPTION_PROTOCOL:
		return take_protocol(command, value);
	case OPTION_BASIC_AUTH:
		return take_user(
		    command, "--basic-auth", AUTH_BASIC_FILE, value);
	case OPTION_BEARER_AUTH:
		return take_user(
		    command, "--bearer-auth", AUTH_BEARER_FILE, value);
	case OPTION_PROXY_AUTH:
		return take_user(
		    command, "--proxy-auth", AUTH_PROXY_FILE, value);
	case OPTION_PROXY:
		return take_proxy(command, value);
	case OPTION_BINARY:
		link->is_binary = true;
		return 0;
	case OPTION_RATE:
	case OPTION_ON_CONNECT_REPLAY:
		return take_number(&command->options, option, value);
	case OPTION_ACKS:
		command->options.acks_path = value;
		return 0;
	case OPTION_SANDBOX:
		command->sandbox = true;
		return 0;
	default:
		return take_time(&command->options, option, value);
	}
}

/* Reads a first time what will be read with each try, so that what is wrong
 * with it is told at the start. */
static int
read_auth(struct command *command)
{
	char why[AUTH_WHY_BYTES];

	auth_init(&command->auth, &command->sources);
	if (auth_read(&command->auth, why) == -1)
		return wrong("%s", why);
	command->options.delivery.link.auth = &command->auth;
	return 0;
}

/* Checks and reads the files that the options name. */
static int
read_files(struct command *command)
{
	const struct conn_options *conn = &command->options.delivery.link.conn;
	char why[PEM_WHY_BYTES];

	if (pem_check(conn->ca_file, conn->cert_file, conn->key_file, why) ==
	    -1)
		return wrong("%s", why);
	return read_auth(command);
}

/*
 * Says whether what is wrong with the files may be right the next time. Under a
 * supervisor, who has looked at them, a sink is started again at any moment,
 * and may come while one of them is written, or between that of a certificate
 * and that of its key.
 */
static bool
may_pass(const struct command *command)
{
	const struct conn_options *conn = &command->options.delivery.link.conn;
	const struct auth_sources *sources = &command->sources;
	bool has_files = conn->ca_file != NULL || conn->cert_file != NULL;

	for (size_t i = 0; i < AUTH_FILES; i++)
		has_files = has_files || sources->files[i] != NULL;
	return has_files && control_is_open(command->options.control);
}

/* Checks what the options say together, once all are known. */
static int
complete(struct command *command)
{
	struct wslink_options *link = &command->options.delivery.link;
	const char *why;
	int parsed;

	if (command->url == NULL)
		return wrong("-u is missing: the URL to send to");
	if (command->options.acks_path != NULL &&
	    control_is_open(command->options.control))
		return wrong("--acks: under a supervisor the acks go back "
			     "where the events come from");
	parsed = conn_url_parse(&link->url, command->url, &why);
	/* The URL is not shown: a password may stand in it. */
	if (parsed == -1)
		return wrong("-u: %s", why);
	command->sources.headers = (const char *const *)command->headers;
	command->sources.header_count = command->header_count;
	command->sources.user = link->url.user;
	command->sources.password = link->url.password;
	link->protocols = command->protocols;
	if (link->conn.key_file != NULL && link->conn.cert_file == NULL)
		return wrong("--key without --cert");
	/* Its reader makes it anew, after us maybe: another file each time. */
	if (command->sandbox && command->options.acks_path != NULL)
		return wrong("--sandbox with --acks: a FIFO cannot be "
			     "permitted before it is there");
	return 0;
}

enum outcome {
	OUTCOME_RUN,
	OUTCOME_TOLD,
	OUTCOME_WRONG,
	OUTCOME_LATER, /* as it is now it cannot run */
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
			options_log_wrong(
			    option, argv, long_options, "wssink --help");
			return OUTCOME_WRONG;
		}
		if (take_option(command, option, optarg) == -1)
			return OUTCOME_WRONG;
	}
	if (optind < argc) {
		(void)wrong("'%s': not an option", argv[optind]);
		return OUTCOME_WRONG;
	}
	if (complete(command) == -1)
		return OUTCOME_WRONG;
	if (read_files(command) == -1)
		return may_pass(command) ? OUTCOME_LATER : OUTCOME_WRONG;
	return OUTCOME_RUN;
}

/* Confines the process, if that is wanted, and runs. */
static enum exitcode
run(struct command *command, struct wssink *sink)
{
	enum exitcode status = EXITCODE_AGAIN;

	if (!command->sandbox)
		return wssink_run(sink);
	permit_init(&command->permit, &command->sources,
	    &command->options.delivery.link.conn);
	command->options.permit = &command->permit;
	if (permit_enter(&command->permit) == 0)
		status = wssink_run(sink);
	permit_fini(&command->permit);
	return status;
}

static void
command_fini(struct command *command)
{
	for (size_t i = 0; i < command->header_count; i++)
		secret_free(command->headers[i]);
	for (size_t i = 0; i < AUTH_FILES; i++)
		secret_free(command->users[i]);
	auth_fini(&command->auth);
	free(command->protocols);
	free(command->proxy);
	secret_free(command->url);
	conn_url_fini(&command->options.delivery.link.url);
}

int
main(int argc, char **argv)
{
	struct control control;
	struct command command = {
	    .options.control = &control,
	    .options.delivery.link.conn.connect_timeout_ms = 10000,
	    .options.delivery.link.ping_interval_ms = 10000,
	    .options.delivery.link.ping_timeout_ms = 5000,
	    .options.delivery.backoff_max_ms = 30000,
	    .level = LOG_INFO,
	};
	enum exitcode status = EXITCODE_AGAIN;
	struct wssink *sink = NULL;
	bool is_open = io_is_open(STDIN_FILENO);
	enum outcome outcome;

	mem_init();
	control_open(&control);
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
		status = run(&command, sink);
		wssink_close(sink);
	}
	if (outcome == OUTCOME_TOLD)
		status = options_answer(command.answer);
	else if (outcome == OUTCOME_WRONG)
		status = EXITCODE_FINAL;
	command_fini(&command);
	return (int)status;
}
