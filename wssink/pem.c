#include "wssink/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Says what is wrong with a file. Returns -1. */
static int
wrong(char *why, const char *option, const char *path, const char *what)
{
	(void)snprintf(why, PEM_WHY_BYTES, "%s %s: %s", option, path, what);
	return -1;
}

/* Opens a file that is to be read again with each try to connect. Returns NULL
 * and has said why if that cannot be. */
static FILE *
open_file(const char *option, const char *path, char *why)
{
	struct stat st;
	FILE *file;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		(void)wrong(why, option, path,
		    "not a regular file, which each try to connect reads "
		    "anew");
		return NULL;
	}
	file = fopen(path, "re");
	if (file == NULL)
		(void)wrong(why, option, path, strerror(errno));
	return file;
}

/* Reads the first certificate of a file. Returns it, for X509_free, or NULL and
 * has said why. */
static X509 *
read_certificate(const char *option, const char *path, char *why)
{
	FILE *file = open_file(option, path, why);
	X509 *certificate;

	if (file == NULL)
		return NULL;
	certificate = PEM_read_X509_AUX(file, NULL, NULL, NULL);
	(void)fclose(file);
	if (certificate == NULL)
		(void)wrong(
		    why, option, path, "no certificate in it that is PEM");
	return certificate;
}

/* OpenSSL asks for a passphrase; without us, on the terminal. */
static int
no_passphrase(char *text, int room, int writing, void *arg)
{
	bool *was_asked = arg;

	(void)text;
	(void)room;
	(void)writing;
	*was_asked = true;
	return -1;
}

/* As read_certificate, for a key and EVP_PKEY_free. */
static EVP_PKEY *
read_key(const char *option, const char *path, char *why)
{
	FILE *file = open_file(option, path, why);
	bool was_asked = false;
	EVP_PKEY *key;

	if (file == NULL)
		return NULL;
	key = PEM_read_PrivateKey(file, NULL, no_passphrase, &was_asked);
	(void)fclose(file);
	if (key == NULL)
		(void)wrong(why, option, path,
		    was_asked ? "the key is encrypted, which nobody is there "
				"to undo"
			      : "no private key in it that is PEM");
	return key;
}

/* Checks a certificate and its key. */
static int
check_pair(const char *cert_path, const char *key_path, char *why)
{
	const char *option = key_path == NULL ? "--cert" : "--key";
	const char *path = key_path == NULL ? cert_path : key_path;
	X509 *certificate = read_certificate("--cert", cert_path, why);
	EVP_PKEY *key = NULL;
	int result = -1;

	if (certificate == NULL)
		return -1;
	key = read_key(option, path, why);
	if (key == NULL)
		goto done;
	if (X509_check_private_key(certificate, key) == 1)
		result = 0;
	else
		(void)wrong(why, option, path,
		    "the key is not that of the certificate");
done:
	EVP_PKEY_free(key);
	X509_free(certificate);
	return result;
}

int
pem_check(
    const char *ca, const char *cert, const char *key, char why[PEM_WHY_BYTES])
{
	int result = 0;

	if (ca != NULL) {
		X509 *certificate = read_certificate("--cacert", ca, why);

		if (certificate == NULL)
			result = -1;
		X509_free(certificate);
	}
	if (result == 0 && cert != NULL)
		result = check_pair(cert, key, why);
	/* What was wrong is said; libcurl's OpenSSL must not find it again. */
	ERR_clear_error();
	return result;
}
