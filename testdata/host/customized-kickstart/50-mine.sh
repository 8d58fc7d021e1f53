#!/bin/sh
esxcli system hostname set --fqdn=mine.example.org
