#include "supervisor/plan.h"

#include "stage/mem.h"
#include "supervisor/config_files.h"
#include "supervisor/state_dir.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Adds a fault of the configuration as a whole. */
static void
add_fault(
    const struct plan_source *source, struct faults *faults, const char *text)
{
	struct place place = {.file = source->paths[0], .line = 1, .column = 1};

	faults_add(faults, &place, "%s", text);
}

/* Returns the directory of this program's own file; the caller frees it. NULL
 * with errno set. */
static char *
own_directory(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n == -1)
		return NULL;
	path[n] = '\0';
	return mem_strdup(dirname(path));
}

/* Returns the state directory; the caller frees it. NULL: none is known. */
static char *
state_directory(const struct config *config)
{
	struct state_dir_env env = {
	    .state_directory = getenv("STATE_DIRECTORY"),
	    .xdg_state_home = getenv("XDG_STATE_HOME"),
	    .home = getenv("HOME"),
	    .is_root = geteuid() == 0,
	};

	if (config->state_dir.is_given)
		return mem_strdup(config->state_dir.text);
	return state_dir_default(&env);
}

/* Finds the directories, once there is a configuration. */
static void
find_directories(
    struct plan *plan, const struct plan_source *source, struct faults *faults)
{
	plan->bin_dir = own_directory();
	if (plan->bin_dir == NULL)
		add_fault(source, faults, strerror(errno));
	plan->state_dir = state_directory(&plan->config);
	if (plan->state_dir == NULL)
		add_fault(source, faults,
		    "no state directory: give state_dir here, or set HOME to "
		    "an absolute path");
	plan->context = (struct command_context){
	    .bin_dir = plan->bin_dir,
	    .state_dir = plan->state_dir,
	    .verbosity = source->verbosity,
	    .is_sandboxed = plan->config.sandbox.number != 0,
	};
}

int
plan_read(struct plan *plan, const struct plan_source *source,
    struct faults *faults, struct faults *notes)
{
	struct config *config = &plan->config;

	*plan = (struct plan){0};
	config_init(config);
	for (size_t i = 0; i < source->path_count; i++)
		config_files_add(
		    config, source->paths[i], source->is_live, faults);
	if (faults->count == 0)
		config_finish(config, faults, notes);
	if (faults->count == 0)
		config_files_check(config, faults);
	if (faults->count == 0)
		find_directories(plan, source, faults);
	if (faults->count == 0)
		return 0;
	plan_fini(plan);
	return -1;
}

int
plan_locate(
    struct plan *plan, const struct plan_source *source, struct faults *faults)
{
	*plan = (struct plan){0};
	config_init(&plan->config);
	for (size_t i = 0; i < source->path_count; i++)
		config_files_add(
		    &plan->config, source->paths[i], source->is_live, faults);
	/* Where it would be by default is not for us to guess: a file that
	 * cannot be read may say something else. */
	if (faults->count == 0 || plan->config.state_dir.is_given)
		find_directories(plan, source, faults);
	if (plan->bin_dir != NULL && plan->state_dir != NULL)
		return 0;
	plan_fini(plan);
	return -1;
}

void
plan_fini(struct plan *plan)
{
	config_fini(&plan->config);
	free(plan->bin_dir);
	free(plan->state_dir);
	*plan = (struct plan){0};
}
