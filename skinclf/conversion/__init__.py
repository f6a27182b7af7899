"""Models rewritten and checked: conversion to a bundle, verification, int8, measured precision."""
