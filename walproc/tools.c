#include "walproc/tools.h"

#include "stage/log.h"
#include "stage/number.h"
#include "stage/options.h"
#include "walproc/export.h"
#include "walproc/inspect.h"
#include "walproc/repair.h"
#include "walproc/verify.h"

#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum option_code {
	OPTION_JSON = UCHAR_MAX + 1,
	OPTION_FROM,
	OPTION_TO,
	OPTION_UNACKED,
};

/* What the command line says. */
struct command {
	const char *dir;
	struct inspect_options inspect;
	struct export_options export;
	bool wants_help;
};

static enum exitcode
run_inspect(const struct command *command)
{
	return inspect_log(command->dir, &command->inspect);
}

static enum exitcode
run_verify(const struct command *command)
{
	return verify_log(command->dir);
}

static enum exitcode
run_repair(const struct command *command)
{
	return repair_log(command->dir);
}

static enum exitcode
run_export(const struct command *command)
{
	return export_log(command->dir, &command->export);
}

static const struct option inspect_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"segments", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option plain_options[] = {
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option export_options[] = {
    {"from", required_argument, NULL, OPTION_FROM},
    {"to", required_argument, NULL, OPTION_TO},
    {"unacked", no_argument, NULL, OPTION_UNACKED},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct tool {
	const char *word;
	const char *short_options;
	const struct option *options;
	enum exitcode (*run)(const struct command *);
	const char *usage;
};

static const struct tool tools[] = {
    {"inspect", ":vh", inspect_options, run_inspect,
	"usage: walproc inspect [--json] [-v | --segments] DIR\n"
	"\n"
	"Says what is in the log in DIR, and what became of the events.\n"},
    {"verify", ":h", plain_options, run_verify,
	"usage: walproc verify DIR\n"
	"\n"
	"Reads all of the log in DIR and lists what is damaged in it.\n"
	"Exits with 0 if nothing is, with 1 if something is.\n"},
    {"repair", ":h", plain_options, run_repair,
	"usage: walproc repair DIR\n"
	"\n"
	"Writes what is damaged in the log in DIR anew; what it replaces\n"
	"goes to DIR/quarantine. No walproc may run on DIR.\n"},
    {"export", ":h", export_options, run_export,
	"usage: walproc export [--from SEQ] [--to SEQ] [--unacked] DIR\n"
	"\n"
	"Prints the events of the log in DIR, one a line.\n"},
};

/* Returns the tool of that name, or NULL. */
static const struct tool *
find_tool(const char *word)
{
	for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
		if (strcmp(tools[i].word, word) == 0)
			return &tools[i];
	return NULL;
}

bool
tools_is_word(const char *word)
{
	return find_tool(word) != NULL;
}

static int
parse_seq(const char *name, uint64_t *seq)
{
	if (number_parse(optarg, 1, INT64_MAX, seq) == 0)
		return 0;
	log_error("%s %s: the number of an event is expected", name, optarg);
	return -1;
}

static int
parse_option(int code, struct command *command)
{
	switch (code) {
	case OPTION_JSON:
		command->inspect.is_json = true;
		return 0;
	case 'v':
		command->inspect.with_segments = true;
		return 0;
	case OPTION_FROM:
		return parse_seq("--from", &command->export.from_seq);
	case OPTION_TO:
		return parse_seq("--to", &command->export.to_seq);
	case OPTION_UNACKED:
		command->export.is_unacked = true;
		return 0;
	default:
		command->wants_help = true;
		return 0;
	}
}

static int
parse_command(
    const struct tool *tool, int argc, char **argv, struct command *command)
{
	char help[32];
	int code;

	*command = (struct command){
	    .export = {.from_seq = 1, .to_seq = UINT64_MAX},
	};
	while ((code = getopt_long(argc, argv, tool->short_options,
		    tool->options, NULL)) != -1) {
		if (code == '?' || code == ':') {
			(void)snprintf(help, sizeof(help), "walproc %s --help",
			    tool->word);
			options_log_wrong(code, argv, tool->options, help);
			return -1;
		}
		if (parse_option(code, command) == -1)
			return -1;
		if (command->wants_help)
			return 0;
	}
	if (optind == argc) {
		log_error("%s: the directory of a log is expected; see walproc "
			  "%s --help",
		    tool->word, tool->word);
		return -1;
	}
	if (optind + 1 < argc) {
		log_error("%s: not expected; see walproc %s --help",
		    argv[optind + 1], tool->word);
		return -1;
	}
	command->dir = argv[optind];
	return 0;
}

int
tools_run(int argc, char **argv)
{
	const struct tool *tool = find_tool(argv[0]);
	struct command command;

	/* A reader that leaves is told by the write that fails. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (parse_command(tool, argc, argv, &command) == -1)
		return EXITCODE_FINAL;
	if (command.wants_help)
		return options_answer(tool->usage);
	return tool->run(&command);
}
