"""Elastic families, one file each: a frozen configuration that parses subnets and spaces and gives layers."""
