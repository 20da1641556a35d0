package main

func kcptunMain(a []string) error { return nil }
