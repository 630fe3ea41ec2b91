int early_key(const char *addr, char *key);
